"""Files in, items out: what the parsing tests have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.ingest.inputs import Format, find
from service.ingest.items import Fault, Item, Record, Rules
from service.ingest.reading import Meter
from service.ingest.stream import Options, items


def parsed(
    *paths: Path,
    format: Format | None = None,
    delimiter: str | None = None,
    strings: bool = False,
    **rules: Any,
) -> list[Item]:
    options = Options(Rules("chunk_text", **rules), delimiter, strings)
    return list(items(find([str(path) for path in paths], format), options, Meter()))


def records(all: list[Item]) -> list[dict[str, Any]]:
    return [item.fields for item in all if isinstance(item, Record)]


def faults(all: list[Item], folder: Path) -> list[str]:
    """What is wrong, without the name of the test's own folder."""
    return [str(item).removeprefix(f"{folder}/") for item in all if isinstance(item, Fault)]


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
