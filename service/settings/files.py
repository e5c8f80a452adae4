"""The settings files: `defaults.toml`, and a profile of one platform over it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from service.errors import StartupFailed

_PACKAGE = Path(__file__).parents[1]

# A wheel has the files inside the package, a checkout beside it.
_PACKAGED = _PACKAGE / "config"
CONFIG_DIR = _PACKAGED if _PACKAGED.is_dir() else _PACKAGE.parent / "config"


def read_settings_files(known: Collection[str]) -> list[dict[str, Any]]:
    """The values of each file, the one with precedence first; raises `StartupFailed`."""
    profiles = ["heroku.toml"] if "DYNO" in os.environ else []  # set in every Heroku dyno
    return [_read(CONFIG_DIR / name, known) for name in [*profiles, "defaults.toml"]]


def _read(path: Path, known: Collection[str]) -> dict[str, Any]:
    name = f"{path.parent.name}/{path.name}"
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise StartupFailed(f"{name} can't be read: {exc}") from None
    if unknown := sorted(values.keys() - set(known)):
        raise StartupFailed(f"{name} has unknown settings: {', '.join(unknown)}")
    return values
