"""The audit log: who changed, exported or was refused what, one line for each.

It is the logger `service.audit`, or a file of JSON lines. A file that can't be written fails no
request: the line then goes to the ordinary log, with a warning.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from service.errors import StartupFailed
from service.logs import JsonFormatter, field_text, one_line

logger = logging.getLogger("service.audit")

FILE_MODE = 0o600
_RESERVED = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class AuditLog:
    """Records to the file at `path`, or to the ordinary log without one."""

    def __init__(self, path: str | None = None, secrets: Sequence[str] = ()) -> None:
        self._path = path
        self._secrets = secrets
        self._logger = logger

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open the file, if there is one, until the end of the block; raises `StartupFailed`."""
        self.open()
        try:
            yield
        finally:
            self.close()

    def open(self) -> None:
        if self._path is None:
            return
        try:
            handler = AuditFile(Path(self._path))
        except OSError as exc:
            raise StartupFailed(
                f"AUDIT_LOG: can't open {self._path} for writing: {exc.strerror}"
            ) from exc
        handler.setFormatter(JsonFormatter(self._secrets))
        self._logger = logging.Logger("service.audit")
        self._logger.addHandler(handler)

    def close(self) -> None:
        """Close the file; later records go to the ordinary log."""
        if self._logger is not logger:
            for handler in self._logger.handlers:
                handler.close()
            self._logger = logger

    def record(self, action: str, outcome: str, **details: Any) -> None:
        """Record an action such as `records.delete`, how it ended, and details.

        Details are names, counts and codes: never contents of records, and never secrets. Those
        that are None are left out.
        """
        fields = {"action": action, "outcome": outcome}
        fields |= {
            f"{name}_" if name in _RESERVED else name: _loggable(value)
            for name, value in details.items()
            if value is not None
        }
        text = " ".join(f"{name}={field_text(value)}" for name, value in fields.items())
        self._logger.info("audit: %s", text, extra=fields)


class AuditFile(logging.Handler):
    """Appends lines to a file that only its owner can read.

    A file that was moved or removed, as by logrotate, is created again. Each line is one write, so
    that several processes can share the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._needs_line_end = False
        self._descriptor = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._reopen_if_moved()
            self._write(self.format(record).encode() + b"\n")
        except OSError as exc:
            fallback = logging.makeLogRecord(vars(record) | {"levelno": logging.WARNING})
            fallback.levelname = "WARNING"
            fallback.msg = f"AUDIT_LOG can't be written ({exc.strerror}): {record.msg}"
            logger.handle(fallback)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, FILE_MODE)

    def _reopen_if_moved(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
                return
        replaced, self._descriptor = self._descriptor, self._open()
        os.close(replaced)

    def _write(self, line: bytes) -> None:
        """A full disk may take a part of a line: the next one starts on a line of its own."""
        if self._needs_line_end:
            line = b"\n" + line
        written = os.write(self._descriptor, line)
        self._needs_line_end = written < len(line)
        if self._needs_line_end:
            raise OSError(errno.ENOSPC, "only a part of the line was written")


def _loggable(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value
