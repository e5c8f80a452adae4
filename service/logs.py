"""Logging: one line per event, as text or as JSON, without secrets.

Secrets are redacted in the finished line, so it does not matter by which part of it they came in.
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

REDACTED = "[secret]"
MAX_LOGGED_CHARS = 200  # of what a client has chosen
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(
    level: str, style: Literal["auto", "text", "json"], secrets: Sequence[str] = ()
) -> None:
    """Send every logger of the process to stderr, in one format."""
    json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((JsonFormatter if json else TextFormatter)(secrets))
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # At INFO these log every call that they make; the access log has every request.
    for name in ("pinecone", "httpx", "httpcore", "hypercorn", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def one_line(text: str) -> str:
    """Text from a client as it is safe to log: bounded, control characters as escapes."""
    cut = text if len(text) <= MAX_LOGGED_CHARS else f"{text[:MAX_LOGGED_CHARS]}…"
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode("ascii")


class _RedactingFormatter(logging.Formatter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        line = self.line(record)
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        return line

    def line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    def _traceback(self, record: logging.LogRecord) -> str | None:
        return self.formatException(record.exc_info) if record.exc_info else None


class JsonFormatter(_RedactingFormatter):
    """One JSON object per line."""

    def line(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id_var.get(),
            "exception": self._traceback(record),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        present = {name: value for name, value in entry.items() if value is not None}
        return orjson.dumps(present, default=str).decode()


class TextFormatter(_RedactingFormatter):
    """For people: the time, the level unless it is INFO, and the message."""

    def line(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        level = "" if record.levelno == logging.INFO else f"{record.levelname}: "
        ms = f"  {record.ms:.1f} ms" if hasattr(record, "ms") else ""
        traceback = self._traceback(record)
        return f"{clock} {level}{record.getMessage()}{ms}" + (f"\n{traceback}" if traceback else "")
