"""Runs a command of the service in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.fork_server import Child, start


def environment(**variables: Any) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    coverage = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
    return inherited | coverage | {name: str(value) for name, value in variables.items()}


def run(*arguments: Any, stdin: bytes = b"", **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m service …` until it exits."""
    with started(*arguments, stdin=subprocess.PIPE, **variables) as process:
        stdout, stderr = process.communicate(stdin.decode(), timeout=60)
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@contextlib.contextmanager
def started(
    *arguments: Any,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    **variables: Any,
) -> Iterator[Child]:
    """Run `python -m service …` during the block, and kill it at the end."""
    process = start(
        "service",
        *map(str, arguments),
        env=environment(**variables),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
