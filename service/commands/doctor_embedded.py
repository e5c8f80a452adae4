"""`doctor` for the embedded engine. A module of its own, because it imports the engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from service.backends.embedded import INDEX_NAME, schema_of
from service.embedded.data_directory import owned
from service.embedded.repair import Finding, inspect, reembed
from service.embedded.views.view import delete_views
from service.inference.models import open_embedder
from service.settings import Settings


def examine(settings: Settings, *, rebuild: bool, reembed_all: bool) -> Iterator[Finding]:
    """Inspect the data directory, after repairing it as requested. Holds its lock meanwhile."""
    with owned(Path(settings.data_dir)):
        folder = Path(settings.data_dir) / INDEX_NAME
        schema, embedder = schema_of(settings), open_embedder(settings.embedder)
        if reembed_all and (folder / "records.db").exists():
            count = reembed(folder, schema, embedder, _show_progress)
            yield Finding("ok", f"{count} records were made anew with {embedder.name}")
        elif rebuild:
            delete_views(folder)
            yield Finding("ok", "every search structure is forgotten; the next start rebuilds them")
        yield from inspect(folder, schema, embedder)


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done} of {total} records", end=end, file=sys.stderr, flush=True)
