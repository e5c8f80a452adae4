"""What an index is noted to be made with: vectors of another making can't be compared with ours."""

from __future__ import annotations

import json

from service.embedded.schema import Schema
from service.embedded.storage.operations import SetMetadata
from service.embedded.storage.store import Store
from service.inference.embedder import Embedder


class OtherVectors(Exception):
    """The stored vectors, or the fields, are not those that the index is opened with."""


def facts_of(schema: Schema, embedder: Embedder) -> dict[str, str]:
    """By name."""
    facts = {"schema": json.dumps(schema.to_dict())}
    if schema.semantic_fields:
        facts["embedder"] = embedder.name
    return facts


def check_facts(store: Store, schema: Schema, embedder: Embedder) -> None:
    """Note them at first, and compare them ever after."""
    if store.metadata("reembedding") is not None:
        raise OtherVectors("it was being made anew, and that was cut off")
    for name, value in facts_of(schema, embedder).items():
        known = store.metadata(name)
        if known is None:
            store.write_sync([SetMetadata(name, value)])
        elif known != value:
            raise OtherVectors(f"it was made with the {name} {known}, and is opened with {value}")
