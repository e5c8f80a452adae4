"""`doctor`: checks what the settings name, and repairs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.backends import choose_backend
from service.commands.interrupt import run
from service.commands.parsing import add_data_dir
from service.commands.terminal import Style
from service.errors import RequestError
from service.indexes.index import Index
from service.settings import Settings

Finding = tuple[str, str]
"""A status (`ok`, `note` or `wrong`) and a sentence."""

STATS_TIMEOUT_S = 30.0
NO_RECORDS = "it has no records yet; load some with `cascade load FILE`"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Check what the settings name: the embedded engine's data directory, which no service may "
        "be using meanwhile, or Pinecone's indexes. The exit status is 1 if anything is wrong."
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="delete the search structures; the next start rebuilds them from the records",
    )
    parser.add_argument(
        "--reembed",
        action="store_true",
        help="rebuild the index with the current EMBEDDER, fields and language",
    )
    add_data_dir(parser)
    parser.set_defaults(run=_doctor, quiet=True, settings=("data_dir",))


def _doctor(settings: Settings, options: argparse.Namespace) -> int:
    if settings.backend == "pinecone":
        if options.rebuild or options.reembed:
            return _report([("wrong", "Pinecone's indexes can't be repaired here")])
        return run(lambda _: _check_pinecone(settings))
    return _report(_check_embedded(settings, rebuild=options.rebuild, reembed_all=options.reembed))


def _report(findings: Iterable[Finding]) -> int:
    """Print the findings; returns the exit status."""
    style = Style.of(sys.stdout)
    wrong = 0
    for status, sentence in findings:
        is_wrong = status == "wrong"
        wrong += is_wrong
        print(style.warning(f"{status:5}") if is_wrong else f"{status:5}", sentence)
    return 1 if wrong else 0


def _check_embedded(settings: Settings, *, rebuild: bool, reembed_all: bool) -> Iterator[Finding]:
    """Inspect the data directory, after repairing it as requested. Holds its lock meanwhile."""
    from service.backends.embedded import INDEX_NAME, schema_of  # slow: it imports the engine
    from service.embedded.data_directory import owned
    from service.embedded.repair import inspect, reembed
    from service.embedded.views.view import delete_views
    from service.inference.models import open_embedder

    with owned(Path(settings.data_dir)):
        folder = Path(settings.data_dir) / INDEX_NAME
        schema, embedder = schema_of(settings), open_embedder(settings.embedder)
        if reembed_all and (folder / "records.db").exists():
            count = reembed(folder, schema, embedder, _show_progress)
            yield "ok", f"{count} records were made anew with {embedder.name}"
        elif rebuild:
            delete_views(folder)
            yield "ok", "every search structure is forgotten; the next start rebuilds them"
        yield from inspect(folder, schema, embedder)


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done} of {total} records", end=end, file=sys.stderr, flush=True)


async def _check_pinecone(settings: Settings) -> int:
    """Opening the indexes has checked hosts, names and the key; what can't be opened is raised."""
    async with choose_backend(settings).opened() as backend:
        return _report([await _check_index(index) for index in (backend.dense, backend.sparse)])


async def _check_index(index: Index) -> Finding:
    where = f"the {index.name} index at {index.host}"
    try:
        stats = await index.stats(STATS_TIMEOUT_S)
    except RequestError as exc:
        return "wrong", f"{where}: {exc.detail}"
    if not stats.records:
        return "note", f"{where}: {NO_RECORDS}"
    dimension = f", dimension {stats.dimension}" if stats.dimension else ""
    return "ok", f"{where}: {stats.records} records{dimension}"
