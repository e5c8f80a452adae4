"""The inputs that are kept for each parser: one file each, with one input per line, in base64."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def load(parser: str) -> list[bytes]:
    """The inputs of a parser, shortest first."""
    path = FOLDER / f"{parser}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [base64.b64decode(line) for line in lines]


def save(parser: str, inputs: Iterable[bytes], max_bytes: int, always: Iterable[bytes] = ()) -> int:
    """Replace the inputs of a parser by `always` and the shortest others; returns how many."""
    kept = set(always)
    size = 0
    for each in sorted(set(inputs) - kept, key=_length):
        size += len(base64.b64encode(each)) + 1
        if size > max_bytes:
            break
        kept.add(each)
    lines = [base64.b64encode(each).decode() for each in sorted(kept, key=_length)]
    (FOLDER / f"{parser}.txt").write_text("".join(f"{line}\n" for line in lines))
    return len(kept)


def _length(input: bytes) -> tuple[int, bytes]:
    return len(input), input
