"""Inspection and repair of an index that is not open. The caller owns the data directory."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from service.embedded.index_metadata import metadata_of
from service.embedded.schema import Schema
from service.embedded.storage.database import UnsupportedFormat
from service.embedded.storage.operations import Operation, ReplaceVector, SetMetadata
from service.embedded.storage.store import Store
from service.embedded.views.view import delete_views, have_saved_content
from service.inference.embedder import Embedder

BATCH = 500
SPARE_BYTES = 200_000_000


class Finding(NamedTuple):
    """The result of one check."""

    status: Literal["ok", "note", "wrong"]
    sentence: str


def inspect(folder: Path, schema: Schema, embedder: Embedder) -> Iterator[Finding]:
    """Check the files of an index: the store first, from which all others can be rebuilt."""
    path = folder / "records.db"
    if not path.exists():
        if have_saved_content(folder):
            yield Finding("wrong", f"{path} is missing: put it back, or restore a backup")
        else:
            yield Finding("ok", f"{folder} has no records yet")
        return
    try:
        store = Store(path)
    except (sqlite3.Error, UnsupportedFormat, OSError) as exc:
        yield Finding("wrong", f"{path} can't be opened ({exc}): restore a backup")
        return
    try:
        yield from _inspect_store(store, path, schema, embedder)
    except sqlite3.Error as exc:
        yield Finding("wrong", f"{path} can't be read ({exc}): restore a backup")
    finally:
        store.close()
    yield from _inspect_views(folder, schema)
    free = shutil.disk_usage(folder).free
    if free < SPARE_BYTES:
        yield Finding("wrong", f"only {free // 1_000_000} MB are free on the disk")


def _inspect_store(
    store: Store, path: Path, schema: Schema, embedder: Embedder
) -> Iterator[Finding]:
    damage = store.integrity_errors()
    counts = store.namespace_counts()
    if damage:
        yield Finding("wrong", f"{path} is damaged ({damage[0]}): restore a backup")
    else:
        yield Finding("ok", f"{path}: {sum(counts.values())} records, no damage")
    for name, value in metadata_of(schema, embedder).items():
        known = store.metadata(name)
        if known is not None and known != value:
            yield Finding("wrong", f"it was made with the {name} {known}; run doctor --reembed")
    if store.metadata("reembedding") is not None:
        yield Finding("wrong", "re-embedding was interrupted; run doctor --reembed")


def _inspect_views(folder: Path, schema: Schema) -> Iterator[Finding]:
    """A missing view is only a note: it can be rebuilt from the store."""
    kinds = {
        "lexical": bool(schema.full_text_fields),
        "dense": bool(schema.dense_fields or schema.semantic_fields),
    }
    for kind in [kind for kind, there in kinds.items() if there]:
        if any(each.is_file() for each in (folder / kind).rglob("*")):
            yield Finding("ok", f"the {kind} view is saved")
        else:
            yield Finding("note", f"the {kind} view is missing: the next start rebuilds it")


def reembed(
    folder: Path, schema: Schema, embedder: Embedder, progress: Callable[[int, int], None]
) -> int:
    """Make an index anew with another embedder or other fields; returns how many records it has.

    If it is cut off, the index can't be opened until it has been done again, and nothing is lost.
    """
    store = Store(folder / "records.db")
    try:
        store.write_sync([SetMetadata("reembedding", embedder.name)])
        delete_views(folder)
        done = 0
        with store.snapshot(batch=BATCH) as snapshot:
            for documents in snapshot.batches:
                operations: list[Operation] = []
                for field in schema.semantic_fields:
                    texts = [(each.docno, each.fields.get(field)) for each in documents]
                    there = [(docno, text) for docno, text in texts if isinstance(text, str)]
                    vectors = embedder.embed([text for _, text in there])
                    operations += [
                        ReplaceVector(docno, field, vector.tobytes())
                        for (docno, _), vector in zip(there, vectors, strict=True)
                    ]
                store.write_sync(operations)
                done += len(documents)
                progress(done, snapshot.total)
        facts = metadata_of(schema, embedder)
        store.write_sync(
            [*(SetMetadata(*fact) for fact in facts.items()), SetMetadata("reembedding", None)]
        )
    finally:
        store.close()
    return done
