"""The schema and the embedder that an index was made with, as stored in it.

Vectors of different embedders can't be compared, so an index opens with its own ones only.
"""

from __future__ import annotations

import json
from pathlib import Path

from service.embedded.schema import Schema
from service.embedded.storage.operations import SetMetadata
from service.embedded.storage.store import Store
from service.embedded.views.view import have_saved_content
from service.inference.embedder import Embedder


class IncompatibleIndex(Exception):
    """The index was made with another schema or embedder than it is opened with."""


class MissingRecords(Exception):
    """The records are gone, and the search structures know more than there is."""


def check_records(path: Path) -> None:
    """Raise `MissingRecords` if there is no file of records where there should be one."""
    state = "empty" if path.exists() else "missing"
    if not (path.exists() and path.stat().st_size) and have_saved_content(path.parent):
        raise MissingRecords(f"{path} is {state}, but its search structures are not")


def check_content(store: Store, path: Path) -> None:
    """Raise `MissingRecords` if a new file is in the place of one that had records."""
    if store.last_seq() == 0 and have_saved_content(path.parent):
        raise MissingRecords(f"{path} never had a record, but its search structures have")


def metadata_of(schema: Schema, embedder: Embedder) -> dict[str, str]:
    """The metadata to store, by name."""
    metadata = {"schema": json.dumps(schema.to_dict())}
    if schema.semantic_fields:
        metadata["embedder"] = embedder.name
    return metadata


def check_metadata(store: Store, schema: Schema, embedder: Embedder) -> None:
    """Store the metadata of a new index; compare those of an existing one."""
    if store.metadata("reembedding") is not None:
        raise IncompatibleIndex("it was being re-embedded, which was interrupted")
    for name, value in metadata_of(schema, embedder).items():
        known = store.metadata(name)
        if known is None:
            store.write_sync([SetMetadata(name, value)])
        elif known != value:
            raise IncompatibleIndex(
                f"it was made with the {name} {known}, and is opened with {value}"
            )
