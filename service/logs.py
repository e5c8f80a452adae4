"""Logging: one line per event, as text or as JSON, without secrets.

Secrets are redacted in the finished line, so it does not matter by which part of it they came in.
The same holds for what could forge a line or control a terminal: characters that are not printable
are escaped, in whatever value they are.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

request_id_var: ContextVar[str | None] = ContextVar("request_id", default=None)
trace_id_var: ContextVar[str | None] = ContextVar("trace_id", default=None)
query_var: ContextVar[str | None] = ContextVar("query", default=None)  # of the current search

REDACTED = "[secret]"
CREDENTIAL = re.compile(r"csk_[a-z2-7]{16}_\w+|eyJ[\w-]+\.[\w-]+\.[\w-]*")  # a key, or a JWT
REDACTED_QUERY = "[query]"
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
    logging.getLogger("service.audit").setLevel(logging.INFO)  # whatever the level of the others
    # At INFO these log every call that they make; the access log has every request.
    for name in ("pinecone", "httpx", "httpcore", "hypercorn", "alembic", "sqlalchemy", "urllib3"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def one_line(text: str) -> str:
    """Text from a client as it is safe to log: bounded, control characters as escapes."""
    cut = text if len(text) <= MAX_LOGGED_CHARS else f"{text[:MAX_LOGGED_CHARS]}…"
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode("ascii")


def field_text(value: Any) -> str:
    """A value after `name=` in the text of a line; quoted if it could be read as further fields."""
    text = escape_unprintable(str(value))
    if isinstance(value, str) and set(text) & set(' ="'):
        return json.dumps(text, ensure_ascii=False)
    return text


def redact_credentials(text: str) -> str:
    """The text without keys and tokens, which a client may have put into a path."""
    return CREDENTIAL.sub(REDACTED, text) if "csk_" in text or "eyJ" in text else text


def redact_query(text: str) -> str:
    """The text of an error without the current query, which an upstream may have quoted."""
    query = query_var.get()
    if not query or not query.strip():
        return text
    for form in {query, json.dumps(query)[1:-1], orjson.dumps(query).decode()[1:-1]}:
        text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", REDACTED_QUERY, text)
    return text


def escape_unprintable(text: str) -> str:
    """The text with control characters, line breaks and the like as Python's escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


class _RedactingFormatter(logging.Formatter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        line = self.line(record)
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        return redact_credentials(line)

    def line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError

    def _traceback(self, record: logging.LogRecord) -> str | None:
        return redact_query(self.formatException(record.exc_info)) if record.exc_info else None


class JsonFormatter(_RedactingFormatter):
    """One JSON object per line."""

    def line(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id_var.get(),
            "trace_id": trace_id_var.get(),
            "exception": self._traceback(record),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        present = {name: value for name, value in entry.items() if value is not None}
        return _encode(present)


def _encode(entry: dict[str, Any]) -> str:
    """The entry as JSON on one line of printable characters."""
    try:
        line = orjson.dumps(entry, default=str).decode()
    except TypeError:  # a lone surrogate, or a number of more than 64 bits
        line = json.dumps(entry, default=str)
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in line)


class TextFormatter(_RedactingFormatter):
    """For people: the time, the level unless it is INFO, the message, and what a request was for.

    The lines of a traceback are indented, so that none of them looks like the line of an event.
    """

    _DETAILS = (
        ("namespace", "namespace"),
        ("key", "key_name"),
        ("query", "query"),
        ("request", "request_id"),
        ("trace", "trace_id"),
    )

    def line(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        level = "" if record.levelno == logging.INFO else f"{record.levelname}: "
        message = escape_unprintable(record.getMessage())
        details = self._request_details(record) if hasattr(record, "ms") else ""
        return f"{clock} {level}{message}{details}{self._indented_traceback(record)}"

    def _request_details(self, record: logging.LogRecord) -> str:
        values = {
            "request_id": request_id_var.get(),
            "trace_id": trace_id_var.get(),
            **vars(record),
        }
        present = [
            f" {label}={field_text(values[name])}"
            for label, name in self._DETAILS
            if values.get(name)
        ]
        return f"  {values['ms']:.1f} ms {''.join(present)}".rstrip()

    def _indented_traceback(self, record: logging.LogRecord) -> str:
        traceback = self._traceback(record)
        if not traceback:
            return ""
        lines = [escape_unprintable(line) for line in traceback.splitlines()]
        return "\n" + textwrap.indent("\n".join(lines), "  ")
