"""A small Pinecone of our own, at the far end of a real wire."""

from tests.upstream.behaviour import (
    After,
    Delay,
    Drip,
    Flaky,
    Garbage,
    Gate,
    Hang,
    Reset,
    Status,
    Truncate,
    Wrong,
)
from tests.upstream.server import API_KEY, Call, Upstream

__all__ = [
    "API_KEY",
    "After",
    "Call",
    "Delay",
    "Drip",
    "Flaky",
    "Garbage",
    "Gate",
    "Hang",
    "Reset",
    "Status",
    "Truncate",
    "Upstream",
    "Wrong",
]
