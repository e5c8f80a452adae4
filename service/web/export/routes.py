"""Every record of a namespace, or all that a filter selects, as one file: `/api/export`.

The response begins when there is something to send, so what goes wrong before is an error as
everywhere. What goes wrong later breaks the response off (`breaking_off.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import AfterValidator, Field
from quart import Blueprint, Quart, Response, request
from quart_schema import document_querystring, document_response, operation_id, tag
from werkzeug.datastructures import Accept

from service.admission.transfer_limit import TransferLimit
from service.settings import Settings
from service.web.admission_middleware import leave
from service.web.errors import ErrorResponse
from service.web.export.formats import MEDIA_TYPES, Format
from service.web.export.stream import Begun, Shape, begun, chunks
from service.web.records.reading import read_parameters
from service.web.records.schemas import Parameters, Record
from service.web.search.request_schemas import checked_filter

PATH = "/api/export"
ERRORS = (400, 401, 422, 500, 502, 503, 504, 507)
MAX_FIELDS = 100
MAX_NAME = 512
FORMAT = "A JSON object a line, or CSV with a header. Both can be imported again."
FILTER = "Only those that it selects: a condition in Pinecone's filter language, as JSON."
FIELDS = (
    "Only these beside `_id`, separated by commas; * for all. With them a CSV is sent at once; "
    "without, when all records were read, for it has to be known which columns there are."
)


def _fields(value: list[str]) -> list[str]:
    for name in value:
        if not 0 < len(name) <= MAX_NAME:
            raise ValueError(f"each name has 1 to {MAX_NAME} characters")
        if name == "_id":
            raise ValueError("'_id' is not a field; it is in every export")
    return list(dict.fromkeys(value))


class ExportRequest(Parameters):
    """Which records, and how they are to be written."""

    format: Format = "ndjson"
    filter: Annotated[dict[str, Any], AfterValidator(checked_filter)] | None = None
    fields: Annotated[list[str], AfterValidator(_fields)] | None = Field(
        None, min_length=1, max_length=MAX_FIELDS
    )

    def shape(self, text_field: str, *, gzip: bool) -> Shape:
        fields = None if self.fields is None or "*" in self.fields else self.fields
        return Shape(self.format, fields, text_field, gzip)


class ExportParameters(Parameters):
    """The same as a URL has it."""

    format: Format = Field("ndjson", description=FORMAT)
    filter: str | None = Field(None, description=FILTER)
    fields: str | None = Field(None, description=FIELDS)


class ExportedRecord(Record):
    """A line of it. The response breaks off, and is not ended, if not all records can be read."""

    media_type: ClassVar[str] = MEDIA_TYPES["ndjson"]


class Exports(Protocol):
    """Where the records are."""

    def read_all(
        self, namespace: str, filter: Mapping[str, Any] | None, seconds: float
    ) -> AsyncGenerator[Sequence[Mapping[str, Any]]]: ...


def install(app: Quart, settings: Settings, records: Callable[[], Exports]) -> None:
    """The route of /api/export; `records` are there while the service is open."""
    blueprint = Blueprint("export", __name__)
    exports = TransferLimit("exports", settings.max_transfers)

    @tag(["records"])
    @operation_id("export")
    @document_querystring(ExportParameters)
    @document_response(ExportedRecord, 200)
    async def export() -> Response:
        """Export records, as NDJSON or as CSV.

        Without a filter they are in the order of their ids. Packed with gzip for who accepts it.
        """
        asked = read_parameters(ExportRequest, request.query_string)
        namespace = asked.namespace or settings.pinecone_namespace
        shape = asked.shape(
            settings.pinecone_text_field, gzip=accepts_gzip(request.accept_encodings)
        )
        if request.method == "HEAD":
            return _response(b"", namespace, shape)
        leave(request.scope, exports)
        pages = records().read_all(namespace, asked.filter, settings.records_timeout_ms / 1000)
        return _response(await begun(chunks(pages, shape)), namespace, shape)

    for status in ERRORS:
        export = document_response(ErrorResponse, status)(export)
    blueprint.get(PATH)(export)
    app.register_blueprint(blueprint)


def accepts_gzip(accepted: Accept) -> bool:
    """Whether it is at least as welcome as what is not packed. Who says nothing wants nothing."""
    return accepted.quality("gzip") > 0 and (
        accepted.quality("gzip") >= accepted.quality("identity")
    )


def _response(body: bytes | Begun, namespace: str, shape: Shape) -> Response:
    response = Response(
        body,
        content_type=MEDIA_TYPES[shape.format],
        headers={
            "Content-Disposition": f'attachment; filename="{namespace}.{shape.format}"',
            "Cache-Control": "no-store",
            "Vary": "Accept-Encoding",
        },
    )
    if shape.gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.headers.pop("Content-Length", None)  # of a HEAD, which says nothing of the length
    response.timeout = None  # there is no telling how long it takes
    return response
