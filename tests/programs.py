"""Programs that some tests start: Redis, PostgreSQL, nginx, Chromium and promtool."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def find_program(program: str, why: str, *directories: Path) -> str:
    """The path of an installed program.

    Without it the test is skipped, or fails if CASCADE_REQUIRE_SERVICES=1.
    """
    search_path = ":".join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, directories)])
    path = shutil.which(program, path=search_path)
    if path is None:
        skip_or_fail(f"{program} is not installed: {why}")
    return path


def skip_or_fail(message: str) -> NoReturn:
    """Skip the test, or fail it if CASCADE_REQUIRE_SERVICES=1."""
    if os.environ.get("CASCADE_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{message}, and CASCADE_REQUIRE_SERVICES=1 says that it must be")
    pytest.skip(message)
