"""What is uploaded: which format it has, and its bytes as they come.

Knows nothing of what becomes of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple

from quart import Request

from service.errors import InvalidField, UnsupportedMediaType
from service.jobs.job import Format
from service.web.bodies import is_json
from service.web.http_connection import read_chunks
from service.web.imports import multipart as forms
from service.web.imports.schemas import MAX_NAME
from service.web.validation import invalid

MEDIA_TYPES: dict[str, Format] = {
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonl": "ndjson",
    "application/jsonlines": "ndjson",
    "application/x-jsonlines": "ndjson",
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "tsv",
}
SUFFIXES: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
}
# Which say nothing of what is in them.
OPAQUE = {"", "application/gzip", "application/x-gzip", "application/octet-stream"}
GZIP = {"gzip", "x-gzip"}  # which is seen from the bytes themselves
SEND = (
    "Send NDJSON (Content-Type: application/x-ndjson), CSV (text/csv) or TSV "
    "(text/tab-separated-values), packed with gzip or not, or one such file in a form"
)


class Sent(NamedTuple):
    """One upload; `format` and `name` as far as it tells."""

    format: Format | None
    name: str | None
    chunks: AsyncIterator[bytes]


async def sent(request: Request, patience_s: float) -> Sent:
    """The upload in a request, or the error that says how to send one."""
    if request.headers.get("Content-Encoding", "identity").lower() not in {"identity", *GZIP}:
        raise UnsupportedMediaType(f"{SEND}; no other Content-Encoding is understood")
    body = read_chunks(request, patience_s)
    media_type = request.mimetype
    if media_type == forms.MEDIA_TYPE:
        file = forms.FormFile(request, body)
        head = await file.begin()
        name = _base(head.filename)
        inner = head.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Sent(MEDIA_TYPES.get(inner) or _by_suffix(name), name, aiter(file))
    if is_json(media_type):
        raise UnsupportedMediaType(f"{SEND}. A JSON array of records is for /api/records")
    if media_type not in MEDIA_TYPES and media_type not in OPAQUE:
        raise UnsupportedMediaType(SEND)
    return Sent(MEDIA_TYPES.get(media_type), None, body)


def format_of(given: Format | None, name: str | None, upload: Sent) -> Format:
    """What the parameters say, else the upload, else its name."""
    found = given or upload.format or _by_suffix(name)
    if found is None:
        raise invalid(InvalidField(("format",), "must be given where nothing else says what it is"))
    return found


def _base(filename: str) -> str | None:
    """Without folders, as either kind of system has them, and fit to be shown."""
    name = PureWindowsPath(PurePosixPath(filename).name).name
    return "".join(filter(str.isprintable, name))[:MAX_NAME] or None


def _by_suffix(name: str | None) -> Format | None:
    path = PurePosixPath((name or "").lower())
    return SUFFIXES.get(PurePosixPath(path.stem).suffix if path.suffix == ".gz" else path.suffix)
