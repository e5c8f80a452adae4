"""The version, which has one source, and what the command line imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import service
from service.cli import main

ROOT = Path(__file__).parent.parent


def test_version_is_the_newest_release_of_the_changelog() -> None:
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == service.__version__


def test_version_option_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"cascade {service.__version__}\n"


def test_version_option_imports_no_dependency() -> None:
    """It takes 0.1 s, and Quart alone takes longer."""
    script = (
        "import sys; from service.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT
    )
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "argparse" in imported
    assert not imported & {"quart", "pydantic", "httpx", "pinecone", "numpy", "orjson"}


@pytest.mark.parametrize("command", ["serve", "load x", "search x", "doctor"])
def test_command_without_dependencies_says_what_to_do(command: str) -> None:
    """With `-S`, Python does not see the installed packages."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "service", *command.split()],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("cascade: the package ")
    assert done.stderr.endswith(
        f" is missing in {sys.executable}; run `make serve` once and use .venv/bin/cascade, or "
        "install Cascade with `pip install .`\n"
    )


COMPLETE = """
complete() { function_name=$4; }
source /dev/stdin
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
$function_name
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash_completion() -> str:
    command = [sys.executable, "-m", "service", "completion", "bash"]
    return subprocess.check_output(command, text=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("cascade ", {"serve", "load", "search", "doctor", "completion"}),
        ("cascade se", {"serve", "search"}),
        ("cascade serve --", {"--help", "--host", "--port", "--workers", "--data-dir"}),
        ("cascade search --hi", {"--highlight"}),
        ("cascade search --mode ", {"semantic", "lexical", "cascading"}),
        ("cascade load pyproj", {"pyproject.toml"}),
        ("cascade doctor --data-dir ben", {"bench"}),
        ("cascade completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_completion_in_bash(bash_completion: str, words: str, offered: set[str]) -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", COMPLETE, "bash", *words.split(" ")],
        input=bash_completion, check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert offered <= set(done.stdout.split())
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_script_has_every_option(shell: str) -> None:
    command = [sys.executable, "-m", "service", "completion", shell]
    script = subprocess.check_output(command, text=True, cwd=ROOT)
    for name in ("match-terms", "workers", "resume", "reembed"):
        assert name in script
    assert "_worker" not in script.replace("_workers", "")


def test_completion_reads_no_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=x\nPINECONE_TOPK=1\n")
    done = subprocess.run(
        [sys.executable, "-m", "service", "completion", "bash"],
        check=True, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stderr == ""


def test_public_surface_is_small() -> None:
    assert sorted(service.__all__) == ["__version__", "create_app", "running"]


def test_loading_over_http_imports_no_web_framework() -> None:
    script = "import sys, service.commands.load, service.commands.remote; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT
    )
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    assert "httpx" in imported
    assert not imported & {"quart", "hypercorn", "pinecone", "sqlalchemy", "numpy"}
