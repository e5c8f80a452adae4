"""Records over HTTP: write, list, read, delete and count.

An upsert is answered with 200 if at least one record was written, and the response lists the
others. If none was written, the response is 422 if no record was valid, or else the error of the
backend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from quart import Blueprint, Response, g, request
from quart.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from service.access.limits import Usage
from service.access.policy import AccessPolicy
from service.backends.search_backend import SearchBackend
from service.indexes.index import IndexStats
from service.indexes.limits import MAX_PAGE
from service.indexes.records import Selection
from service.ingest.counted_writes import write_counted
from service.ingest.target import WriteResult
from service.retrieval.deadline import Deadline
from service.settings import Settings
from service.web.auditing import audit_details
from service.web.authentication import authorize_writes, requires
from service.web.bodies import parse_records, read_body
from service.web.openapi.operation import documented
from service.web.parameters import NamespaceParameters, read_parameters
from service.web.records.schemas import (
    MAX_RECORDS,
    DeleteRequest,
    DeleteResponse,
    ListParameters,
    Namespaces,
    RecordIds,
    RecordsBody,
    StatsResponse,
    StoredRecord,
    UpsertResponse,
    WriteParameters,
    check_id,
)
from service.web.responses import NDJSON, encode_records, json_response, written_records
from service.web.validation import invalid_field, validate

PATH = "/api/records"
READ_ERRORS = (400, 401, 422, 500, 502, 503, 504)
WRITE_ERRORS = (*READ_ERRORS, 403)


class RecordIdConverter(BaseConverter):
    """Matches the rest of the path: ids may have slashes and line breaks."""

    part_isolating = False
    regex = r"[\s\S]+"
    weight = 200


def records_blueprint(
    settings: Settings, backend: SearchBackend, policy: AccessPolicy
) -> Blueprint:
    blueprint = Blueprint("records", __name__)
    blueprint.record(_add_converter)
    authorize_writes(blueprint, policy)

    def deadline() -> Deadline:
        return Deadline(settings.records_timeout_ms / 1000)

    def namespace(parameters: NamespaceParameters) -> str:
        name = parameters.namespace or settings.pinecone_namespace
        g.namespace = name  # for the logs
        return name

    def waits_for_visibility(parameters: WriteParameters) -> bool:
        if parameters.wait and not backend.all_records.can_wait_until_visible:
            raise invalid_field(
                "wait", "is supported only by the embedded engine; leave it out with Pinecone"
            )
        return parameters.wait is not None

    @blueprint.post(PATH)
    @documented(
        "records", "records", UpsertResponse, WRITE_ERRORS, query=WriteParameters, body=RecordsBody
    )
    @requires("records.write")
    async def upsert_records() -> Response:
        """Write records. A record with the id of an existing one replaces it."""
        parameters = read_parameters(WriteParameters, request.query_string)
        visible = waits_for_visibility(parameters)
        ndjson = request.mimetype == NDJSON
        body = await read_body(request, "records", allow_ndjson=True)
        records = await asyncio.to_thread(
            parse_records, body, ndjson=ndjson, max_records=MAX_RECORDS
        )
        audit_details(records=len(records))
        written = await write_counted(
            g.account,
            Usage(records=len(records), bytes=len(body)),
            lambda: backend.records(g.grant).upsert(
                namespace(parameters), records, deadline(), visible=visible
            ),
        )
        audit_details(written=written.written, failed=len(written.failures))
        return json_response(_upsert_body(written))

    @blueprint.get(PATH)
    @documented("records", "records", RecordIds, READ_ERRORS, query=ListParameters)
    @requires("records.read")
    async def list_records() -> Response:
        """List the ids of the records, page by page."""
        parameters = read_parameters(ListParameters, request.query_string)
        page = await backend.records(g.grant).list_ids(
            namespace(parameters),
            parameters.prefix or None,
            parameters.limit or MAX_PAGE,
            parameters.cursor,
            deadline(),
        )
        return json_response({"ids": page.ids, "cursor": page.cursor})

    @blueprint.get(f"{PATH}/<id:record_id>")
    @documented("records", "record", StoredRecord, (*READ_ERRORS, 404), query=NamespaceParameters)
    @requires("records.read")
    async def get_record(record_id: str) -> Response:
        """Read a record."""
        parameters = read_parameters(NamespaceParameters, request.query_string)
        id = _checked_id(record_id)
        record = await backend.records(g.grant).get(namespace(parameters), id, deadline())
        return Response(encode_records({**record}), content_type="application/json")

    @blueprint.delete(f"{PATH}/<id:record_id>")
    @documented("records", "record", DeleteResponse, WRITE_ERRORS, query=WriteParameters)
    @requires("records.write")
    async def delete_record(record_id: str) -> Response:
        """Delete a record. Succeeds if there is no such record."""
        parameters = read_parameters(WriteParameters, request.query_string)
        return await delete(parameters, Selection(ids=(_checked_id(record_id),)))

    @blueprint.delete(PATH)
    @documented(
        "records",
        "records",
        DeleteResponse,
        WRITE_ERRORS,
        query=WriteParameters,
        body=DeleteRequest,
    )
    @requires("records.write")
    async def delete_records() -> Response:
        """Delete records by their ids, by a filter, or all of a namespace."""
        parameters = read_parameters(WriteParameters, request.query_string)
        body = await read_body(request, "what to delete")
        return await delete(parameters, validate(DeleteRequest, body).to_selection())

    async def delete(parameters: WriteParameters, selection: Selection) -> Response:
        visible = waits_for_visibility(parameters)
        audit_details(**_selection_details(selection))
        count = await backend.records(g.grant).delete(
            namespace(parameters), selection, deadline(), visible=visible
        )
        audit_details(deleted=count)
        return json_response({"deleted": count})

    @blueprint.get("/api/stats")
    @documented("records", "stats", StatsResponse, READ_ERRORS)
    @requires("stats")
    async def stats() -> Response:
        """Count the records of each index, by namespace."""
        indexes = await backend.stats(g.grant, deadline())
        return json_response(
            {
                "backend": settings.backend,
                "indexes": {name: _stats_body(each) for name, each in indexes.items()},
            }
        )

    @blueprint.get("/api/namespaces")
    @documented("records", "namespaces", Namespaces, READ_ERRORS)
    @requires("stats")
    async def namespaces() -> Response:
        """List the namespaces, with the number of their records."""
        return json_response({"namespaces": _sizes(await backend.namespaces(g.grant, deadline()))})

    return blueprint


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["id"] = RecordIdConverter


def _checked_id(id: str) -> str:
    try:
        return check_id(id)
    except ValueError as exc:
        raise invalid_field("_id", str(exc)) from None


def _selection_details(selection: Selection) -> dict[str, Any]:
    """What a deletion selects, without the ids and the values of the condition."""
    if selection.ids is not None:
        return {"selection": "ids", "ids": len(selection.ids)}
    return {"selection": "all" if selection.all else "filter"}


def _upsert_body(written: WriteResult) -> dict[str, Any]:
    return {
        **written_records(written.written, written.counts),
        "failed": [
            {"index": each.index, "_id": each.id, "code": each.code, "detail": each.detail}
            for each in written.failures
        ],
    }


def _stats_body(stats: IndexStats) -> dict[str, Any]:
    return {
        "records": stats.records,
        "dimension": stats.dimension,
        "metric": stats.metric,
        "namespaces": _sizes(stats.namespaces),
    }


def _sizes(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    return {name: {"records": count} for name, count in counts.items()}
