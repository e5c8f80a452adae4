"""Checkpoints: how far a load has come, so that it can be resumed from there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from service.errors import CommandFailed
from service.indexes.records import NO_COUNTS, WriteCounts
from service.ingest.reading import START, Position
from service.ingest.record import RecordError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Every item up to number `position` was written, or counted as failed.

    `counts` divides the written ones, if the target reports that.

    `after` is the position in the file, if the load has only one.
    """

    position: int = 0
    written: int = 0
    failed: int = 0
    after: Position = START
    counts: WriteCounts = NO_COUNTS


class CheckpointStore(Protocol):
    """Keeps the checkpoint of one load."""

    def save(self, checkpoint: Checkpoint, errors: Sequence[RecordError] = ()) -> None:
        """Save it; `errors` are those since the checkpoint before. Must return quickly."""
        ...


class CheckpointFile:
    """The checkpoint of one load in a small file, which exists while the load is unfinished.

    The file's name is a hash of what is loaded, how, and where to, so another load never finds it.
    """

    def __init__(self, path: Path, load: Mapping[str, Any]) -> None:
        canonical = json.dumps(load, sort_keys=True, default=str)
        self._load = hashlib.sha256(canonical.encode(errors="surrogateescape")).hexdigest()
        self.path = path / f"{self._load[:16]}.json" if path.is_dir() else path

    def read(self) -> Checkpoint | None:
        """The saved checkpoint; None if it does not exist, or can't be read."""
        try:
            saved = json.loads(self.path.read_text())
            if saved["load"] != self._load:
                return None
            return Checkpoint(int(saved["position"]), int(saved["written"]), int(saved["failed"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError):
            return None  # loading from the beginning is always correct

    def save(self, checkpoint: Checkpoint, errors: Sequence[RecordError] = ()) -> None:  # noqa: ARG002
        """Replace the file atomically: after a kill it is the old one or the new one."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            new.write_text(json.dumps({"load": self._load, **asdict(checkpoint)}))
            new.replace(self.path)
        except OSError as exc:
            raise CommandFailed(
                f"{self.path}: can't be written ({os.strerror(exc.errno or 0)}); "
                "--state names another file for the checkpoint"
            ) from exc

    def clear(self) -> None:
        """Remove the file: the load has finished, or starts again."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
