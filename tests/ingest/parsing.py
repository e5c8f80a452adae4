"""Helpers of the parsing tests: write files, parse them, select records and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.ingest.inputs import Format, find_inputs
from service.ingest.parsing import ParseOptions, parse_inputs
from service.ingest.reading import ReadMeter
from service.ingest.record import Item, Record, RecordError, RecordMapping


def parse_files(
    *paths: Path,
    format: Format | None = None,
    delimiter: str | None = None,
    strings: bool = False,
    **rules: Any,
) -> list[Item]:
    options = ParseOptions(RecordMapping("chunk_text", **rules), delimiter, strings)
    return list(
        parse_inputs(find_inputs([str(path) for path in paths], format), options, ReadMeter())
    )


def records(all: list[Item]) -> list[dict[str, Any]]:
    return [item.fields for item in all if isinstance(item, Record)]


def error_messages(all: list[Item], folder: Path) -> list[str]:
    """The error messages, without the path of the test's folder."""
    return [str(item).removeprefix(f"{folder}/") for item in all if isinstance(item, RecordError)]


def write_file(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
