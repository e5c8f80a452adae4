"""Cascade: semantic, lexical and cascading search over Pinecone, as an async HTTP API."""

from service.app import create_app, running
from service.version import VERSION

__all__ = ["__version__", "create_app", "running"]

__version__ = VERSION
