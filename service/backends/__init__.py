"""The backends that an app can search: Pinecone, or the engine embedded in the process.

The embedded backend is imported only if it is chosen: its libraries (numpy, usearch, tantivy,
pyroaring, wordllama) cost a process that serves Pinecone a second of start-up and 35 MB.
"""

from __future__ import annotations

from service.backends.pinecone import PineconeBackend
from service.backends.protocol import Backend
from service.indexes.pinecone import OpenLane, open_lane
from service.settings import Settings


def choose_backend(settings: Settings, open_lane: OpenLane = open_lane) -> Backend:
    """Pinecone if it is configured, the embedded engine otherwise."""
    if settings.pinecone_api_key is not None:
        return PineconeBackend(settings, settings.pinecone_api_key.get_secret_value(), open_lane)
    from service.backends.embedded import EmbeddedBackend  # noqa: PLC0415 - see the docstring above

    return EmbeddedBackend(settings)
