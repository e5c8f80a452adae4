"""Programs that some tests start: Redis, PostgreSQL and nginx."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def find_program(program: str, why: str, *directories: Path) -> str:
    """The path of an installed program.

    Without it the test is skipped, or fails if CASCADE_REQUIRE_SERVICES=1.
    """
    search_path = ":".join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, directories)])
    if path := shutil.which(program, path=search_path):
        return path
    message = f"{program} is not installed: {why}"
    if os.environ.get("CASCADE_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{message}, and CASCADE_REQUIRE_SERVICES=1 says that it must be")
    pytest.skip(message)
