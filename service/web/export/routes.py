"""The export route.

The response starts with the first chunk, so an error before that is an ordinary error response. A
later error aborts the response (`ResponseAborted`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field
from quart import Blueprint, Response, g, request
from werkzeug.datastructures import Accept

from service.admission.transfer_limit import TransferLimit
from service.backends.search_backend import SearchBackend
from service.indexes.limits import MAX_ID_LENGTH
from service.retrieval.deadline import Deadline
from service.settings import Settings
from service.web.admission_middleware import convert_to_transfer
from service.web.auditing import audit_details
from service.web.authentication import requires
from service.web.export.counting import counted_chunks, counted_pages
from service.web.export.formats import MEDIA_TYPES, Format, Formulas
from service.web.export.stream import ExportBody, ExportOptions, export_chunks
from service.web.openapi.operation import documented
from service.web.openapi.schemas import TEXT
from service.web.parameters import Filter, check_namespace_parameter, read_parameters
from service.web.records.schemas import StoredRecord
from service.web.validation import StrictModel, invalid_field

PATH = "/api/export"
ERRORS = (400, 401, 422, 500, 502, 503, 504, 507)
MAX_FIELDS = 100
ALL = "*"
MAX_NAME_LENGTH = 512


def _check_fields(names: list[str]) -> list[str]:
    for name in names:
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            raise ValueError(f"each field name must have 1 to {MAX_NAME_LENGTH} characters")
        if name == "_id":
            raise ValueError("'_id' is not a field; every export has it without being asked")
    return list(dict.fromkeys(names))


def _check_namespace(value: str) -> str:
    return value if value == ALL else check_namespace_parameter(value)


class ExportRequest(StrictModel):
    namespace: Annotated[str, AfterValidator(_check_namespace)] | None = Field(
        None,
        max_length=MAX_ID_LENGTH,
        description="The namespace to export. Defaults to `PINECONE_NAMESPACE`. `*` exports all, "
        "as NDJSON: each line has its `_namespace`, to which an import of it writes.",
    )
    format: Format = Field(
        "ndjson",
        description="NDJSON, or CSV with a header. Both can be imported again.",
    )
    filter: Filter | None = Field(
        None,
        description="Export only records that match this condition, in Pinecone's filter language.",
    )
    fields: Annotated[list[str], AfterValidator(_check_fields)] | None = Field(
        None,
        min_length=1,
        max_length=MAX_FIELDS,
        description="The fields to export besides `_id`; `*` exports all, and is the default. A "
        "CSV of all fields starts only when all records have been read, because its header names "
        "them.",
    )

    csv_formulas: Formulas = Field(
        "keep",
        description="What becomes of texts in a CSV that a spreadsheet would run as formulas, such "
        "as `=1+1`. `escape` puts an apostrophe in front; such a file can't be imported again as "
        "the same records.",
    )

    def options(self, text_field: str, *, gzip: bool) -> ExportOptions:
        fields = None if self.fields is None or "*" in self.fields else self.fields
        return ExportOptions(self.format, fields, text_field, self.csv_formulas, gzip)


class ExportedRecord(StoredRecord):
    """A line of the export. If not all records can be read, the response ends prematurely."""

    media_types: ClassVar[Mapping[str, Any]] = {MEDIA_TYPES["ndjson"]: None, "text/csv": TEXT}


def export_blueprint(settings: Settings, backend: SearchBackend) -> Blueprint:
    blueprint = Blueprint("export", __name__)
    exports = TransferLimit("exports", settings.max_transfers)

    @blueprint.get(PATH)
    @documented("records", "export", ExportedRecord, ERRORS, query=ExportRequest)
    @requires("export")
    async def export() -> Response:
        """Export records as NDJSON or CSV.

        Without a filter, the records are in the order of their ids. The response is compressed
        with gzip if the client accepts it.
        """
        parameters = read_parameters(ExportRequest, request.query_string)
        g.namespace = namespace = parameters.namespace or settings.pinecone_namespace
        if namespace == ALL and parameters.format != "ndjson":
            raise invalid_field("format", "must be ndjson to export all namespaces")
        if parameters.csv_formulas == "escape" and parameters.format != "csv":
            raise invalid_field("csv_formulas", "is supported only with format=csv")
        audit_details(format=parameters.format, filtered=parameters.filter is not None)
        options = parameters.options(
            settings.pinecone_text_field, gzip=accepts_gzip(request.accept_encodings)
        )
        timeout_s = settings.records_timeout_ms / 1000
        records = backend.records(g.grant)
        if namespace == ALL:
            names = await backend.readable_namespaces(g.grant, Deadline(timeout_s))
            pages = records.scan_all(names, parameters.filter, timeout_s)
        else:
            pages = records.scan(namespace, parameters.filter, timeout_s)
        if request.method == "HEAD":
            return _response(b"", namespace, options)
        convert_to_transfer(request.scope, exports)
        chunks = export_chunks(counted_pages(pages, g.account), options)
        body = await ExportBody.start(counted_chunks(chunks, g.account))
        return _response(body, namespace, options)

    return blueprint


def accepts_gzip(accepted: Accept) -> bool:
    """Whether gzip has at least the quality of `identity`. Without a header, it has none."""
    return accepted.quality("gzip") > 0 and (
        accepted.quality("gzip") >= accepted.quality("identity")
    )


def _response(body: bytes | ExportBody, namespace: str, options: ExportOptions) -> Response:
    name = "all" if namespace == ALL else namespace
    response = Response(
        body,
        content_type=MEDIA_TYPES[options.format],
        headers={
            "Content-Disposition": f'attachment; filename="{name}.{options.format}"',
            "Cache-Control": "no-store",
            "Vary": "Accept-Encoding",
        },
    )
    if options.gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.headers.pop("Content-Length", None)  # a HEAD does not know the length
    response.timeout = None  # an export may take hours
    return response
