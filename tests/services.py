"""What some tests need beyond Python. They start it themselves if it is installed."""

from __future__ import annotations

import os
import shutil

import pytest


def installed(program: str, why: str) -> str:
    """The path of a program; without it the test is skipped, or fails where CI must have it."""
    if path := shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return path
    message = f"{program} is not installed: {why}"
    if os.environ.get("CASCADE_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{message}, and CASCADE_REQUIRE_SERVICES=1 says that it must be")
    pytest.skip(message)
