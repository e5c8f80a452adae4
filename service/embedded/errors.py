"""The errors of the engine and of its files, as a status and a sentence for the caller."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from service.disk_space import DiskFull, is_disk_full
from service.embedded.field_limit import TooManyFields
from service.embedded.lexical.files import CorruptIndex
from service.embedded.views.view_set import TemporarilyUnavailable


class EngineError(Exception):
    """An operation failed. `status` is an HTTP status; the message may be shown to the caller."""

    def __init__(self, status: int, message: str) -> None:
        message = message.encode("utf-8", "replace").decode()  # it may quote any input
        super().__init__(message)
        self.status = status
        self.message = message


class FieldsRefused(EngineError):
    """An index has too many different fields for a write."""


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Raise the errors of the engine, the disk and the input as `EngineError`; bugs pass."""
    try:
        yield
    except TemporarilyUnavailable as exc:
        raise EngineError(503, str(exc)) from exc
    except DiskFull as exc:
        raise EngineError(507, str(exc)) from exc
    except (sqlite3.Error, CorruptIndex, OSError) as exc:
        if is_disk_full(exc):
            raise EngineError(507, f"there is no space left on the disk ({exc})") from exc
        raise EngineError(503, f"the files can't be used ({exc})") from exc
    except TooManyFields as exc:
        raise FieldsRefused(400, str(exc)) from exc
    except UnicodeError:
        raise
    except ValueError as exc:
        raise EngineError(400, str(exc)) from exc
