"""The backends that an app can search: Pinecone, or the engine embedded in the process.

The embedded backend is imported only if it is chosen: its libraries (numpy, usearch, tantivy,
pyroaring, wordllama) cost a process that serves Pinecone a second of start-up and 35 MB.
"""

from __future__ import annotations

from functools import partial

from service.backends.pinecone import PineconeBackend
from service.backends.protocol import Backend
from service.indexes import pinecone
from service.indexes.pinecone import OpenLane
from service.indexes.transport import MakeTransport, PoolTransport
from service.settings import Settings


def choose_backend(
    settings: Settings,
    open_lane: OpenLane | None = None,
    make_transport: MakeTransport = PoolTransport,
) -> Backend:
    """Pinecone if it is configured, the embedded engine otherwise."""
    if settings.pinecone_api_key is not None:
        api_key = settings.pinecone_api_key.get_secret_value()
        opener = open_lane or partial(pinecone.open_lane, make_transport=make_transport)
        return PineconeBackend(settings, api_key, opener, make_transport)
    from service.backends.embedded import EmbeddedBackend  # noqa: PLC0415 - see the docstring above

    return EmbeddedBackend(settings)
