"""Sends requests that schemathesis generates from the OpenAPI document, and checks the responses.

`make check-api` runs it with the Python of `.schemathesis`; `service` and `tests` are not imported.
It serves each backend, with keys and without; the fake of the tests stands for Pinecone. No
response may be a 5xx that has no reason, or have a status, a media type, a header or a body that
the document does not describe.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent / "api"
READY_LINE = re.compile(r"serving on (http://\S+)")
POLL_S = 0.1
KEY = "a-key-of-the-service"
# A valid request may be refused by a rule that a schema can't express; a deleted import is
# cancelled, and remains.
UNCHECKED = ["positive_data_acceptance", "use_after_free"]
EMBEDDED, WITH_KEYS = {"LOAD_SAMPLES": "true"}, {"SERVICE_API_KEYS": KEY}
SETUPS = {
    "embedded": EMBEDDED,
    "embedded-keys": EMBEDDED | WITH_KEYS,
    "pinecone": {},
    "pinecone-keys": WITH_KEYS,
}
QUICK = ("embedded", "pinecone-keys")  # what continuous integration has time for


def main() -> int:
    parser = argparse.ArgumentParser(prog="make check-api", description=__doc__)
    parser.add_argument("--python", required=True, help="the Python that serves")
    parser.add_argument("--examples", type=int, default=4, help="cases of each kind and operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("setups", nargs="*", metavar="SETUP", help=f"of {', '.join(SETUPS)}")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in options.setups or QUICK:
            settings = {**SETUPS[name], "DATA_DIR": str(Path(folder, name))}
            log = Path(folder, f"{name}.log")
            with contextlib.ExitStack() as stack:
                if name.startswith("pinecone"):
                    settings |= stack.enter_context(fake_pinecone(options.python))
                url = stack.enter_context(serving(options.python, settings, log))
                failed |= not check(name, url, Path(folder), options)
    return int(failed)


def check(name: str, url: str, folder: Path, options: argparse.Namespace) -> bool:
    """Run schemathesis, and print what it found; returns whether every response was right."""
    report = folder / "report.json"
    unchecked = UNCHECKED if name.endswith("keys") else [*UNCHECKED, "ignored_auth"]
    command: list[str | Path] = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
        *("run", f"{url}/api/openapi.json", "--no-color", "--continue-on-failure"),
        *("--checks", "all", "--exclude-checks", ",".join(unchecked), "--warnings", "off"),
        *("--max-examples", str(options.examples), "--seed", str(options.seed)),
        *("--header", f"Authorization: Bearer {KEY}", "--generation-database", "none"),
        *("--report", "json", "--report-json-path", report),
    ]
    done = subprocess.run(command, check=False, cwd=HERE, capture_output=True, text=True)
    cases = json.loads(report.read_text())["test_cases"]["generated"] if report.exists() else 0
    print(f"{name}: {cases:,} cases, {'no failure' if done.returncode == 0 else 'failures'}")
    if done.returncode:
        print(done.stdout, done.stderr)
    return done.returncode == 0 and cases > 0


@contextlib.contextmanager
def serving(python: str, settings: dict[str, str], log: Path) -> Iterator[str]:
    """Serve on a free port. The log goes to a file, as a pipe that nobody reads gets full."""
    environment = own_environment() | settings | {"PORT": "0"}
    command = [python, "-m", "service", "serve"]
    with log.open("w") as file, subprocess.Popen(command, env=environment, stderr=file) as process:
        try:
            while not (found := READY_LINE.search(log.read_text())):
                if process.poll() is not None:
                    raise SystemExit(f"the service did not start:\n{log.read_text()}")
                time.sleep(POLL_S)
            yield found[1]
        finally:
            process.terminate()


@contextlib.contextmanager
def fake_pinecone(python: str) -> Iterator[dict[str, str]]:
    """Run the fake of the tests, and give the settings that point at it."""
    command = [python, "-m", "tests.upstream"]
    with subprocess.Popen(
        command, env=own_environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(4)]
            yield dict(re.findall(r"export (\w+)=(\S+)", "".join(lines)))
        finally:
            process.terminate()


def own_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


if __name__ == "__main__":
    sys.exit(main())
