"""Why a request is not carried out, in the terms of the wire: a status and a sentence."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from service.embedded.lexical.index import CorruptIndex
from service.embedded.views.view_set import TemporarilyUnavailable
from service.indexes.port import OurSentence

# gRPC's, which the data plane answers with
GRPC_CODES = {400: 3, 404: 5, 409: 6, 501: 12, 503: 14, 507: 8}


class EngineError(OurSentence):
    """The request is refused with this status."""

    def __init__(self, status: int, message: str) -> None:
        message = message.encode("utf-8", "replace").decode()  # it may quote anything
        super().__init__(message)
        self.status = status
        self.message = message

    @property
    def body(self) -> dict[str, Any]:
        return {"code": GRPC_CODES.get(self.status, 13), "message": self.message, "details": []}


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Say what the engine raises as a refusal. A mistake of the program's own is none."""
    try:
        yield
    except TemporarilyUnavailable as exc:
        raise EngineError(503, str(exc)) from exc
    except (sqlite3.Error, CorruptIndex, OSError) as exc:
        if "disk is full" in str(exc) or "No space left" in str(exc):
            raise EngineError(507, "there is no space left on the disk") from exc
        raise EngineError(503, f"the files can't be used ({exc})") from exc
    except UnicodeError:
        raise
    except ValueError as exc:
        raise EngineError(400, str(exc)) from exc
