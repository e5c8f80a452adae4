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
