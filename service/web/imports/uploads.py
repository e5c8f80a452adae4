"""Uploads: their format, and their content as it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple

from quart import Request
from werkzeug.http import parse_options_header

from service.errors import UnsupportedMediaType
from service.ingest.formats.encoding import is_encoding, is_utf8
from service.ingest.inputs import SUFFIXES as FILE_SUFFIXES
from service.ingest.inputs import TEXT_FORMATS
from service.jobs.job import Format
from service.web.bodies import read_chunks
from service.web.imports import multipart
from service.web.imports.schemas import MAX_NAME_LENGTH, ImportParameters
from service.web.validation import invalid_field

MEDIA_TYPES: dict[str, Format] = {
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonl": "ndjson",
    "application/jsonlines": "ndjson",
    "application/x-jsonlines": "ndjson",
    "application/json": "ndjson",  # an array is recognized from the content
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/markdown": "markdown",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
}
SUFFIXES: dict[str, Format] = {
    suffix: "ndjson" if format == "jsonl" else format for suffix, format in FILE_SUFFIXES.items()
}
# These say nothing about the format of the records.
OPAQUE_TYPES = {"", "application/gzip", "application/x-gzip", "application/octet-stream"}
GZIP_ENCODINGS = {"gzip", "x-gzip"}  # gzip is recognized from the content
ACCEPTED = (
    "Send NDJSON (Content-Type: application/x-ndjson), a JSON array (application/json), CSV "
    "(text/csv), TSV (text/tab-separated-values), Markdown (text/markdown), HTML (text/html) or "
    "PDF (application/pdf), optionally compressed with gzip, or a form with one such file"
)


class ReceivedUpload(NamedTuple):
    """The content of an upload, and the format, name and charset of its headers, if any."""

    format: Format | None
    name: str | None
    chunks: AsyncIterator[bytes]
    charset: str | None = None


async def receive_upload(request: Request, patience_s: float) -> ReceivedUpload:
    """Read the upload up to its content; raises an error for types that are not supported."""
    if request.headers.get("Content-Encoding", "identity").lower() not in {
        "identity",
        *GZIP_ENCODINGS,
    }:
        raise UnsupportedMediaType(f"{ACCEPTED}; other Content-Encodings are not supported")
    body = read_chunks(request, patience_s)
    media_type = request.mimetype
    if media_type == multipart.MEDIA_TYPE:
        file = multipart.FormFile(request, body)
        head = await file.read_head()
        name = _clean_name(head.filename)
        part_type, parameters = parse_options_header(head.headers.get("Content-Type", ""))
        format = MEDIA_TYPES.get(part_type.lower()) or _format_by_suffix(name)
        return ReceivedUpload(format, name, aiter(file), _charset(parameters.get("charset")))
    if media_type not in MEDIA_TYPES and media_type not in OPAQUE_TYPES:
        raise UnsupportedMediaType(ACCEPTED)
    charset = _charset(request.mimetype_params.get("charset"))
    return ReceivedUpload(MEDIA_TYPES.get(media_type), None, body, charset)


def choose_format(requested: Format | None, name: str | None, upload: ReceivedUpload) -> Format:
    """The requested format, or that of the upload's headers, or that of its name."""
    format = requested or upload.format or _format_by_suffix(name)
    if format is None:
        raise invalid_field(
            "format", "is required, because neither the Content-Type nor the file name gives it"
        )
    return format


def check_text_parameters(parameters: ImportParameters, format: Format, name: str | None) -> None:
    """Check the parameters of a file that is split into passages."""
    if format not in TEXT_FORMATS:
        return
    if not name:
        raise invalid_field("name", f"is required for {format}: ids of passages begin with it")
    for parameter in ("text_field", "text_template", "id_field", "id_column"):
        if getattr(parameters, parameter):
            raise invalid_field(parameter, f"is a field, and {format} has no fields")


def _charset(name: str | None) -> str | None:
    """The charset of a Content-Type. UTF-8 is a guess of many clients, so it is checked instead."""
    if name is None or (is_encoding(name) and is_utf8(name)):
        return None
    if not is_encoding(name):
        raise UnsupportedMediaType(f"The charset {name!r} of the Content-Type is not known")
    return name


def _clean_name(filename: str) -> str | None:
    """Remove folders, of POSIX and of Windows, and characters that are not printable."""
    name = PureWindowsPath(PurePosixPath(filename).name).name
    return "".join(filter(str.isprintable, name))[:MAX_NAME_LENGTH] or None


def _format_by_suffix(name: str | None) -> Format | None:
    path = PurePosixPath((name or "").lower())
    return SUFFIXES.get(PurePosixPath(path.stem).suffix if path.suffix == ".gz" else path.suffix)
