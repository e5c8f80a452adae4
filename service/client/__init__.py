"""Python client of a Cascade service: `SearchClient`, and `AsyncSearchClient` for asyncio.

    with SearchClient("http://127.0.0.1:8000") as client:
        for result in client.cascading("how do I keep bread fresh").results:
            print(result.score, result.text)

It imports nothing else of the service. `errors.py` shows the tree of exceptions.
"""

from service.client._async.client import AsyncSearchClient
from service.client._async.streams import AsyncStream
from service.client._async.typing import AsyncTyping
from service.client._sync.client import SearchClient
from service.client._sync.streams import Stream
from service.client._sync.typing import Typing
from service.client.endpoints import ExportOptions, KeyOptions, SearchOptions
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
from service.client.import_upload import ImportOptions
from service.client.models import (
    Answer,
    ApiKey,
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
from service.client.tenant_tokens import SearchRules, sign_tenant_token

__all__ = [
    "Answer",
    "ApiError",
    "ApiKey",
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
    "KeyOptions",
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
    "SearchRules",
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
    "sign_tenant_token",
]
