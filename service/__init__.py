"""Cascade: semantic, lexical and cascading search over Pinecone, as an async HTTP API."""

__all__ = ["__version__", "create_app", "running"]

__version__ = "0.1.0"

from service.app import create_app, running
