"""The wheel: built, installed away from the checkout, and serving from an empty directory.

No package index is needed: the build backend is the one installed here, and the new virtual
environment sees the packages of this one by a `.pth` file.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

import service

ROOT = Path(__file__).parent.parent.parent
BUILD = "from hatchling.build import build_wheel; print(build_wheel({directory!r}))"
SERVING = re.compile(r"serving on (http://[0-9.:]+)")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-c", BUILD.format(directory=str(folder))]
    built = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return folder / built.stdout.split()[-1]


@pytest.fixture(scope="module")
def cascade(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script of a virtual environment into which only the wheel is installed."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run(
        [*install, "--no-index", "--no-deps", "--no-warn-script-location", str(wheel)], check=True
    )
    shown = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.check_output(shown, text=True).strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "cascade"


def test_wheel_contains_config_and_package_data(wheel: Path) -> None:
    assert wheel.name == f"cascade_search-{service.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        metadata = next(name for name in names if name.endswith("/METADATA"))
        licensed = opened.read(metadata).decode()
    assert {
        "service/config/defaults.toml",
        "service/config/heroku.toml",
        "service/config/hypercorn.toml",
        "service/py.typed",
        "service/samples/records.jsonl",
        "service/web/openapi/examples.json",
        "service/web/ui/docs.html",
    } <= names
    for folder in ("jobs/migrations", "database/alembic"):  # read as files, imported by nothing
        paths = (ROOT / "service" / folder).rglob("*.py")
        assert {str(path.relative_to(ROOT)) for path in paths} <= names
    assert "License-Expression: MIT" in licensed
    assert not {name for name in names if name.startswith(("tests/", "bench/"))}


def test_installed_wheel_prints_its_version(cascade: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [cascade, "--version"], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == f"cascade {service.__version__}\n"


def test_installed_wheel_serves_a_search_from_an_empty_directory(
    cascade: Path, tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], "PORT": "0", "LOAD_SAMPLES": "true"}
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [cascade, "serve"], cwd=tmp_path, env=environment, stderr=stderr
        ) as process,
    ):
        try:
            url = _wait_for_url(log, process)
            found = _search(url, "how do I keep bread fresh")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert len(found["results"]) == 10
    assert (tmp_path / "var").is_dir()


def _wait_for_url(log: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        if found := SERVING.search(log.read_text()):
            return found[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def _search(url: str, query: str) -> dict[str, list[object]]:
    """The answer, once the samples are loaded."""
    for _ in range(600):
        response = httpx.get(f"{url}/api/cascading-retrieval", params={"text_query": query})
        if response.status_code == 200 and not response.json()["degraded"]:
            answer: dict[str, list[object]] = response.json()
            if answer["results"]:
                return answer
        time.sleep(0.1)
    raise AssertionError(response.text)
