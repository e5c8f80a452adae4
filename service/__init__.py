"""Cascade: semantic, lexical and cascading search over Pinecone, as an async HTTP API.

The app is imported on first use, so that `service.client` and the command line start quickly.
"""

from typing import TYPE_CHECKING, Any

from service.version import VERSION

if TYPE_CHECKING:
    from service.app import create_app, running

__all__ = ["__version__", "create_app", "running"]

__version__ = VERSION


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from service import app  # noqa: PLC0415 - on first use

    return getattr(app, name)
