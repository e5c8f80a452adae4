"""The files in docs/deploy: what can be checked without Docker, and without a running systemd."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import ROOT, SERVING, serving_offline

DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
MOST_EXPOSED = 20  # of systemd-analyze security, in tenths: 2.0 of 10
NOTHING_WRITABLE = 77  # the exit status if the root file system can't be made read-only
# Everything but the two folders becomes read-only; the process has no capabilities.
READ_ONLY = f"""
mount --bind "$1" "$1" && mount --bind "$2" "$2" && mount -o remount,bind,ro / ||
    exit {NOTHING_WRITABLE}
touch /cascade-was-here 2>/dev/null && {{ rm /cascade-was-here; exit {NOTHING_WRITABLE}; }}
shift 2
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


def find(program: str) -> str:
    return shutil.which(program) or pytest.skip(f"{program} is not installed")


def copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [source for each in copies for source in each.split()]


def test_dockerfile_copies_files_that_are_sent_to_the_build() -> None:
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {f"!{source}" for source in copied()} == {line for line in ignore if line[0] == "!"}
    for source in copied():
        assert (ROOT / source).exists(), source


def test_dockerfile_copies_what_the_wheel_is_built_from(tmp_path: Path) -> None:
    for source in copied():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / source)
    build = "from hatchling.build import build_wheel; print(build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.glob("dist/*.whl"))


def test_dockerfile_runs_as_a_user_and_holds_no_secret() -> None:
    runtime = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", runtime, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in runtime
    assert not re.search(r"(KEY|PASSWORD|TOKEN|SECRET)\w*=", DOCKERFILE)


def test_health_check_of_dockerfile_tells_whether_service_answers(tmp_path: Path) -> None:
    (found,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    _, *arguments = json.loads(found)
    with serving_offline(tmp_path) as (process, address):
        environment = {"PORT": address.rpartition(":")[2]}
        command = [sys.executable, *arguments]
        assert subprocess.run(command, env=environment, check=False).returncode == 0
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        ended = subprocess.run(command, env=environment, check=False, stderr=subprocess.DEVNULL)
        assert ended.returncode == 1


@pytest.mark.parametrize(
    "arguments", [["verify"], ["security", "--offline=yes", f"--threshold={MOST_EXPOSED}"]]
)
def test_systemd_unit_is_valid_and_confined(tmp_path: Path, arguments: list[str]) -> None:
    program = find("systemd-analyze")
    unit = tmp_path / "cascade.service"
    text = (DEPLOY / "cascade.service").read_text()
    unit.write_text(text.replace("/opt/cascade/bin/cascade", shutil.which("true") or ""))
    command = [program, *arguments, str(unit)]
    checked = subprocess.run(command, check=False, capture_output=True, text=True)
    if "unrecognized option" in checked.stderr:
        pytest.skip("systemd-analyze is older than 250")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Unknown" not in checked.stderr  # a misspelled option is a warning


@pytest.fixture
def read_only_service(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The service in a mount namespace where it can write to its data and to TMPDIR only."""
    data, temporary = tmp_path / "data", tmp_path / "tmp"
    data.mkdir()
    temporary.mkdir()
    environment = {
        **{"PORT": "0", "DATA_DIR": str(data), "TMPDIR": str(temporary), "HOME": "/nonexistent"},
        **{"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
    }
    find("setpriv")
    command = [
        *(find("unshare"), "--map-root-user", "--mount", "sh", "-c", READ_ONLY, "sh"),
        *(str(data), str(temporary), sys.executable, "-m", "service", "serve"),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            lines = []
            for line in process.stderr:
                lines.append(line)
                if found := SERVING.search(line):
                    yield found[1], data
                    break
            else:
                if process.wait() in {1, NOTHING_WRITABLE} and "service" not in "".join(lines):
                    pytest.skip(f"mount namespaces are not allowed here: {''.join(lines)}")
                pytest.fail("".join(lines))
        finally:
            process.terminate()


def test_service_needs_to_write_only_to_its_data(read_only_service: tuple[str, Path]) -> None:
    address, data = read_only_service
    with httpx.Client(base_url=address, timeout=60) as client:
        record = {"_id": "a", "chunk_text": "green tea"}
        assert client.post("/api/records?wait=visible", json=record).json()["written"] == 1
        found = client.get("/api/cascading-retrieval?text_query=tea").json()["results"]
        assert [each["_id"] for each in found] == ["a"]
        uploaded = client.post("/api/imports", files={"file": ("b.txt", b"Black tea")}).json()
        events = client.get(f"/api/imports/{uploaded['id']}/events").text
        assert '"status":"succeeded"' in events
        assert client.get("/api/export?format=csv&fields=*").text.count("tea") == 2
    assert {"records", "imports"} <= {each.name for each in data.iterdir()}
