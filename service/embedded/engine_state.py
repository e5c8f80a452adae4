"""The state of an index of the embedded engine, as its metrics report it."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RECORDS = "records"  # the part of the files that lie in the folder itself


@dataclass(frozen=True, slots=True)
class ViewState:
    """How many changes a view is behind, and whether searches can use it."""

    name: str
    pending_changes: int
    is_complete: bool
    is_failing: bool


@dataclass(frozen=True, slots=True)
class EngineState:
    """The records that searches see, the bytes on the disk by part, and the views.

    New records are refused while fewer bytes are free on the disk than the reserve.
    """

    records: int
    bytes_by_part: Mapping[str, int]
    free_bytes: int
    reserve_bytes: int
    views: Sequence[ViewState]


def bytes_by_part(folder: Path) -> dict[str, int]:
    """The size of the files of an index: of the records, and of each kind of view."""
    sizes: Counter[str] = Counter()
    for parent, _, names in os.walk(folder):
        inside = Path(parent).relative_to(folder).parts
        part = inside[0] if inside else RECORDS
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a view has just replaced it
                sizes[part] += Path(parent, name).stat().st_size
    return dict(sizes)
