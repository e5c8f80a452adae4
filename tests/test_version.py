"""One version, in the two places that need it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import service


def test_the_package_and_the_project_agree() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["project"]["version"] == service.__version__


def test_the_public_surface_is_small() -> None:
    assert sorted(service.__all__) == ["__version__", "create_app", "running"]
