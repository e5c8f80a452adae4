"""How far a load has come, in a small file, so that it can be resumed. Knows only numbers.

The file is named for what is loaded, how, and where to: a load of anything else never finds it. It
is there only while a load is unfinished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.errors import CommandFailed
from service.ingest.items import Fault
from service.ingest.marks import Mark


class Journal:
    """The mark of one load on disk."""

    def __init__(self, path: Path, load: Mapping[str, Any]) -> None:
        canonical = json.dumps(load, sort_keys=True, default=str)
        self._load = hashlib.sha256(canonical.encode(errors="surrogateescape")).hexdigest()
        self.path = path / f"{self._load[:16]}.json" if path.is_dir() else path

    def mark(self) -> Mark | None:
        """The mark of this load, if it was begun and not finished."""
        try:
            held = json.loads(self.path.read_text())
            if held["load"] != self._load:
                return None
            return Mark(int(held["position"]), int(held["written"]), int(held["failed"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError):
            return None  # loading from the beginning is always right

    def save(self, mark: Mark, faults: Sequence[Fault] = ()) -> None:  # noqa: ARG002
        """Replace the file at once: after a kill there is the old one or the new one."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            new.write_text(json.dumps({"load": self._load, **asdict(mark)}))
            new.replace(self.path)
        except OSError as exc:
            raise CommandFailed(
                f"{self.path}: can't be written ({os.strerror(exc.errno or 0)}); "
                "--state names another file for how far the load has come"
            ) from exc

    def clear(self) -> None:
        """The load is finished, or begins anew."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
