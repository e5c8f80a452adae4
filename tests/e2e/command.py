"""One command as its users run it, ended with its end or with a signal."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.e2e.process import ROOT


def environment(**variables: Any) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    coverage = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
    return inherited | coverage | {name: str(value) for name, value in variables.items()}


def run(*arguments: Any, stdin: bytes = b"", **variables: Any) -> subprocess.CompletedProcess[str]:
    """`python -m service …`, to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *map(str, arguments)],
        cwd=ROOT,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


@contextlib.contextmanager
def started(
    *arguments: Any,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    **variables: Any,
) -> Iterator[subprocess.Popen[str]]:
    """The same, while it runs; what is left of it is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service", *map(str, arguments)],
        cwd=ROOT,
        env=environment(**variables),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
