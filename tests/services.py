"""What some tests need beyond Python. They start it themselves if it is installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def installed(program: str, why: str, *places: Path) -> str:
    """The path of a program; without it the test is skipped, or fails where CI must have it."""
    looked = ":".join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, places)])
    if path := shutil.which(program, path=looked):
        return path
    message = f"{program} is not installed: {why}"
    if os.environ.get("CASCADE_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{message}, and CASCADE_REQUIRE_SERVICES=1 says that it must be")
    pytest.skip(message)
