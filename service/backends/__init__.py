"""Where an app's indexes and its reranker come from: Pinecone, or the engine in the process.

Both are opened and closed as one; above this room nobody can tell them apart.
"""

from __future__ import annotations

from service.backends.embedded import EmbeddedSources
from service.backends.pinecone import PineconeSources
from service.backends.protocol import Opened, Sources
from service.indexes.pinecone import OpenLane, open_lane
from service.settings import Settings

__all__ = ["Opened", "Sources", "sources_for"]


def sources_for(settings: Settings, open_lane: OpenLane = open_lane) -> Sources:
    """Pinecone where it is configured, the embedded engine otherwise."""
    if settings.pinecone_api_key is None:
        return EmbeddedSources(settings)
    return PineconeSources(settings, settings.pinecone_api_key.get_secret_value(), open_lane)
