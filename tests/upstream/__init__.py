"""A fake Pinecone that listens on a real port, and can be told to fail in many ways."""

from tests.upstream.behavior import (
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
