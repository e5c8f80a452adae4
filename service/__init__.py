"""Cascade: semantic, lexical and cascading search over Pinecone, as an async HTTP API."""

from service.app import create_app, running
from service.version import VERSION as __version__

__all__ = ["__version__", "create_app", "running"]
