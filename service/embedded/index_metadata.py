"""The schema and the embedder that an index was made with, as stored in it.

Vectors of different embedders can't be compared, so an index opens with its own ones only.
"""

from __future__ import annotations

import json

from service.embedded.schema import Schema
from service.embedded.storage.operations import SetMetadata
from service.embedded.storage.store import Store
from service.inference.embedder import Embedder


class IncompatibleIndex(Exception):
    """The index was made with another schema or embedder than it is opened with."""


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
