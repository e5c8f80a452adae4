"""What an index is noted to be made with: vectors of another making can't be compared with ours."""

from __future__ import annotations

import json

from service.embedded.schema import Schema
from service.embedded.storage.operations import SetMetadata
from service.embedded.storage.store import Store
from service.inference.embedder import Embedder


class IncompatibleIndex(Exception):
    """The stored vectors, or the fields, are not those that the index is opened with."""


def metadata_of(schema: Schema, embedder: Embedder) -> dict[str, str]:
    """By name."""
    metadata = {"schema": json.dumps(schema.to_dict())}
    if schema.semantic_fields:
        metadata["embedder"] = embedder.name
    return metadata


def check_metadata(store: Store, schema: Schema, embedder: Embedder) -> None:
    """Note them at first, and compare them ever after."""
    if store.metadata("reembedding") is not None:
        raise IncompatibleIndex("it was being made anew, and that was cut off")
    for name, value in metadata_of(schema, embedder).items():
        known = store.metadata(name)
        if known is None:
            store.write_sync([SetMetadata(name, value)])
        elif known != value:
            raise IncompatibleIndex(
                f"it was made with the {name} {known}, and is opened with {value}"
            )
