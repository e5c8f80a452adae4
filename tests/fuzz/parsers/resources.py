"""What parsers need beside their input: folders, and a way to run coroutines."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def scratch_folder() -> Path:
    """A new folder, removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="cascade-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine. The event loop is kept, as a new one takes longer than most inputs."""
    return _runner().run(coroutine)


@cache
def _runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner
