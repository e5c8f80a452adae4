"""`doctor`: what is wrong with what the settings name, and how it is made whole again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from service.backends import sources_for
from service.backends.embedded import INDEX_NAME, schema_of
from service.commands.interrupt import run
from service.commands.terminal import Style
from service.embedded.data_directory import owned
from service.embedded.repair import Finding, inspect, reembed
from service.embedded.views.kinds import delete_views
from service.errors import RequestError
from service.indexes.registry import Index
from service.inference.models import open_embedder
from service.settings import Settings

if TYPE_CHECKING:
    from service.commands.parsing import Commands

LACK_OF_RECORDS = "it has no records yet; `python -m service load FILE` puts some in"


def add_to(commands: Commands) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check what the settings name, and repair it",
        description="Check what the settings name: the embedded engine's data directory, which no "
        "service may be using meanwhile, or Pinecone's indexes. The exit status is 1 if anything "
        "is wrong.",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="forget every search structure; the next start makes them again from what is stored",
    )
    parser.add_argument(
        "--reembed",
        action="store_true",
        help="make the index anew with the present EMBEDDER, fields and language",
    )
    parser.set_defaults(run=_doctor, quiet=True)


def _doctor(settings: Settings, options: argparse.Namespace) -> int:
    if settings.backend == "pinecone":
        if options.rebuild or options.reembed:
            return _report([Finding("wrong", "there is nothing to repair here: Pinecone does it")])
        return run(lambda _: _look_at_pinecone(settings))
    with owned(Path(settings.data_dir)):
        return _report(_treat(settings, options))


def _treat(settings: Settings, options: argparse.Namespace) -> Iterator[Finding]:
    folder = Path(settings.data_dir) / INDEX_NAME
    schema, embedder = schema_of(settings), open_embedder(settings.embedder)
    if options.reembed and (folder / "records.db").exists():
        count = reembed(folder, schema, embedder, _show_progress)
        yield Finding("ok", f"{count} records were made anew with {embedder.name}")
    elif options.rebuild:
        delete_views(folder)
        yield Finding("ok", "every search structure is forgotten; the next start makes them again")
    yield from inspect(folder, schema, embedder)


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done} of {total} records", end=end, file=sys.stderr, flush=True)


def _report(findings: Iterable[Finding]) -> int:
    style = Style.of(sys.stdout)
    wrong = 0
    for finding in findings:
        wrong += finding.status == "wrong"
        status = f"{finding.status:5}"
        print(style.warning(status) if finding.status == "wrong" else status, finding.what)
    return 1 if wrong else 0


async def _look_at_pinecone(settings: Settings) -> int:
    """Opening the indexes has checked hosts, names and the key; what can't be opened is raised."""
    async with sources_for(settings).opened() as opened:
        return _report([await _look_at(index) for index in (opened.dense, opened.sparse)])


async def _look_at(index: Index) -> Finding:
    where = f"the {index.name} index at {index.host}"
    try:
        stats = await index.pool.call(lambda client: client.describe_index_stats())
    except RequestError as exc:
        return Finding("wrong", f"{where}: {exc.detail}")
    if not stats.total_vector_count:
        return Finding("note", f"{where}: {LACK_OF_RECORDS}")
    dimension = f", dimension {stats.dimension}" if stats.dimension else ""
    return Finding("ok", f"{where}: {stats.total_vector_count} records{dimension}")
