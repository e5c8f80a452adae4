"""Logs: a line per event, JSON where nobody watches, and never a secret in one.

Knows nothing of what is logged. Secrets are blotted out of the finished line, whichever part of it
they got into.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

request_id_var: ContextVar[str | None] = ContextVar("request_id", default=None)

BLOT = "[secret]"
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(
    level: str, style: Literal["auto", "text", "json"], secrets: Sequence[str] = ()
) -> None:
    """Send every logger of the process to stderr, in one form."""
    json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((JsonFormatter if json else TextFormatter)(secrets))
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # At INFO these tell of every call they make; the access log tells of every request.
    for talkative in ("pinecone", "httpx", "httpcore", "hypercorn", "alembic", "sqlalchemy"):
        logging.getLogger(talkative).setLevel(max(logging.WARNING, logging.getLogger().level))


class _Blotting(logging.Formatter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        line = self.line(record)
        for secret in self._secrets:
            line = line.replace(secret, BLOT)
        return line

    def line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    def _trouble(self, record: logging.LogRecord) -> str | None:
        return self.formatException(record.exc_info) if record.exc_info else None


class JsonFormatter(_Blotting):
    """One JSON object a line."""

    def line(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id_var.get(),
            "exception": self._trouble(record),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        present = {name: value for name, value in entry.items() if value is not None}
        return orjson.dumps(present, default=str).decode()


class TextFormatter(_Blotting):
    """For people: the time, the level where it matters, and the message."""

    def line(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        level = "" if record.levelno == logging.INFO else f"{record.levelname}: "
        ms = f"  {record.ms:.1f} ms" if hasattr(record, "ms") else ""
        trouble = self._trouble(record)
        return f"{clock} {level}{record.getMessage()}{ms}" + (f"\n{trouble}" if trouble else "")
