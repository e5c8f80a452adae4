"""Cascade: semantic, lexical and cascading search over Pinecone, as an async HTTP API.

The app is imported when it is asked for: who wants only `service.client` waits for none of it.
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
    from service import app  # noqa: PLC0415 - not before

    return getattr(app, name)
