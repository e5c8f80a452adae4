"""A client of a Cascade: `SearchClient`, and `AsyncSearchClient` with the same methods, awaited.

    with SearchClient("http://127.0.0.1:8000") as client:
        for result in client.cascading("how do I keep bread fresh").results:
            print(result.score, result.text)

It needs nothing of the service but its address. What can go wrong is drawn in `errors.py`.
"""

from service.client.aio import AsyncSearchClient
from service.client.async_streams import AsyncStream
from service.client.async_typing import AsyncTyping
from service.client.errors import (
    ApiError,
    ConnectionFailed,
    CursorExpired,
    DeadlineExceeded,
    FieldFault,
    Forbidden,
    GarbledAnswer,
    ImportFailed,
    IncompleteExport,
    Invalid,
    InvalidArgument,
    NotConnected,
    NotFound,
    Overloaded,
    SearchClientError,
    ServiceFailed,
    StorageFull,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from service.client.importing import ImportOptions
from service.client.models import (
    Answer,
    Failure,
    IdPage,
    ImportPage,
    IndexStats,
    Job,
    LineError,
    Move,
    NamespaceStats,
    Readiness,
    Receipt,
    Record,
    Result,
    SearchEvent,
    Stage,
    Stats,
    Written,
)
from service.client.requests import ExportOptions, SearchOptions
from service.client.sync import SearchClient
from service.client.sync_streams import Stream
from service.client.sync_typing import Typing

__all__ = [
    "Answer",
    "ApiError",
    "AsyncSearchClient",
    "AsyncStream",
    "AsyncTyping",
    "ConnectionFailed",
    "CursorExpired",
    "DeadlineExceeded",
    "ExportOptions",
    "Failure",
    "FieldFault",
    "Forbidden",
    "GarbledAnswer",
    "IdPage",
    "ImportFailed",
    "ImportOptions",
    "ImportPage",
    "IncompleteExport",
    "IndexStats",
    "Invalid",
    "InvalidArgument",
    "Job",
    "LineError",
    "Move",
    "NamespaceStats",
    "NotConnected",
    "NotFound",
    "Overloaded",
    "Readiness",
    "Receipt",
    "Record",
    "Result",
    "SearchClient",
    "SearchClientError",
    "SearchEvent",
    "SearchOptions",
    "ServiceFailed",
    "Stage",
    "Stats",
    "StorageFull",
    "Stream",
    "TimedOut",
    "TooLarge",
    "Typing",
    "Unauthorized",
    "Unavailable",
    "Written",
]
