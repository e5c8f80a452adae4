"""The `traceparent` header (W3C Trace Context): in which trace a request is.

Reading it needs no library, so log lines have the trace id also where no spans are recorded.
"""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})"
    r"-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
)
VERSION = "00"


def trace_id_of(header: str) -> str | None:
    """The trace id of a valid header, otherwise None. Later versions may have further parts."""
    match = _TRACEPARENT.fullmatch(header)
    if match is None or (match["version"] == VERSION and match["more"]):
        return None
    return match["trace"]
