"""Records over HTTP: write, list, read, delete, count.

A request is answered with 200 if at least one record was written, and then names those that were
not. With the error of the backend, if none was written because of it. With 422, if none is valid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from quart import Blueprint, Quart, Response, request
from quart_schema import document_querystring, document_request
from werkzeug.routing import BaseConverter

from service.access.policy import AccessPolicy
from service.errors import InvalidField, UpstreamGarbled
from service.indexes.writes import MAX_PAGE, Page, Record, Selection
from service.records.records import IndexStats, Written
from service.retrieval.deadline import Deadline
from service.settings import Settings
from service.web.authentication import check_write
from service.web.bodies import NDJSON, read_body
from service.web.openapi import documented
from service.web.records.reading import read_parameters, read_records
from service.web.records.schemas import (
    DeletedAnswer,
    DeleteRequest,
    ListAnswer,
    ListParameters,
    ReadParameters,
    RecordsBody,
    StatsAnswer,
    WriteParameters,
    WrittenAnswer,
    check_id,
)
from service.web.records.schemas import Record as RecordAnswer
from service.web.search.rendering import json_response
from service.web.validation import invalid, validated

PATH = "/api/records"
READS = (400, 401, 422, 500, 502, 503, 504)
WRITES = (*READS, 403)
BODIES = (*WRITES, 408, 413, 415)


class Id(BaseConverter):
    """An id in a path: whatever is left of it, slashes and line breaks with it."""

    part_isolating = False
    regex = r"[\s\S]+"
    weight = 200


class Store(Protocol):
    """What this face needs to have behind it."""

    @property
    def can_show(self) -> bool: ...

    async def upsert(
        self, namespace: str, records: Sequence[Any], deadline: Deadline, *, visible: bool
    ) -> Written: ...

    async def get(self, namespace: str, id: str, deadline: Deadline) -> Record: ...

    async def list_ids(
        self,
        namespace: str,
        prefix: str | None,
        limit: int | None,
        cursor: str | None,
        deadline: Deadline,
    ) -> Page: ...

    async def delete(
        self, namespace: str, selection: Selection, deadline: Deadline, *, visible: bool
    ) -> int | None: ...


class Stores(Protocol):
    """Where the records are, while the service is open."""

    @property
    def records(self) -> Store: ...

    async def stats(self, deadline: Deadline) -> Mapping[str, IndexStats]: ...


def install(app: Quart, settings: Settings, stores: Stores, door: AccessPolicy) -> None:
    """The routes of /api/records and /api/stats; whoever may not write is stopped before them."""
    app.url_map.converters["id"] = Id
    blueprint = records_blueprint(settings, stores)

    @blueprint.before_request
    async def at_the_door() -> None:
        await check_write(door)

    app.register_blueprint(blueprint)


def records_blueprint(settings: Settings, stores: Stores) -> Blueprint:
    """The routes alone."""
    blueprint = Blueprint("records", __name__)

    def deadline() -> Deadline:
        return Deadline(settings.records_timeout_ms / 1000)

    def namespace(parameters: ReadParameters | WriteParameters | ListParameters) -> str:
        return parameters.namespace or settings.pinecone_namespace

    def visible(parameters: WriteParameters, store: Store) -> bool:
        if parameters.wait and not store.can_show:
            raise invalid(InvalidField(("wait",), "Pinecone does not say when a write is visible"))
        return parameters.wait is not None

    @blueprint.post(PATH)
    @documented("records", "records", WrittenAnswer, BODIES)
    @document_querystring(WriteParameters)
    @document_request(RecordsBody)
    async def upsert_records() -> Response:
        """Write records; one that is there with the same id is replaced."""
        parameters = read_parameters(WriteParameters, request.query_string)
        store = stores.records
        wait = visible(parameters, store)
        ndjson = request.mimetype == NDJSON
        body = await read_body(request, "records", ndjson=True)
        records = await asyncio.to_thread(read_records, body, ndjson=ndjson)
        written = await store.upsert(namespace(parameters), records, deadline(), visible=wait)
        return json_response(_written(written))

    @blueprint.get(PATH)
    @documented("records", "records", ListAnswer, READS)
    @document_querystring(ListParameters)
    async def list_records() -> Response:
        """List ids, in order, a page at a time."""
        asked = read_parameters(ListParameters, request.query_string)
        page = await stores.records.list_ids(
            namespace(asked),
            asked.prefix or None,
            asked.limit or MAX_PAGE,
            asked.cursor,
            deadline(),
        )
        return json_response({"ids": page.ids, "cursor": page.cursor})

    @blueprint.get(f"{PATH}/<id:record_id>")
    @documented("records", "record", RecordAnswer, (*READS, 404))
    @document_querystring(ReadParameters)
    async def get_record(record_id: str) -> Response:
        """Read one record, as it was written."""
        parameters = read_parameters(ReadParameters, request.query_string)
        id = _checked_id(record_id)
        record = await stores.records.get(namespace(parameters), id, deadline())
        try:
            return json_response({**record})
        except TypeError as exc:  # a number of more than 64 bits, or a field nested without end
            raise UpstreamGarbled("The record can't be written as JSON") from exc

    @blueprint.delete(f"{PATH}/<id:record_id>")
    @documented("records", "record", DeletedAnswer, WRITES)
    @document_querystring(WriteParameters)
    async def delete_record(record_id: str) -> Response:
        """Delete one record; that there is none is no error."""
        parameters = read_parameters(WriteParameters, request.query_string)
        selection = Selection(ids=(_checked_id(record_id),))
        return await delete(parameters, selection)

    @blueprint.delete(PATH)
    @documented("records", "records", DeletedAnswer, BODIES)
    @document_querystring(WriteParameters)
    @document_request(DeleteRequest)
    async def delete_records() -> Response:
        """Delete records: by id, by filter, or all of a namespace."""
        parameters = read_parameters(WriteParameters, request.query_string)
        body = await read_body(request, "what to delete")
        return await delete(parameters, validated(DeleteRequest, body).to_selection())

    async def delete(parameters: WriteParameters, selection: Selection) -> Response:
        store = stores.records
        wait = visible(parameters, store)
        count = await store.delete(namespace(parameters), selection, deadline(), visible=wait)
        return json_response({"deleted": count})

    @blueprint.get("/api/stats")
    @documented("records", "stats", StatsAnswer, READS)
    async def stats() -> Response:
        """How many records each index has, by namespace."""
        indexes = await stores.stats(deadline())
        return json_response(
            {
                "backend": settings.backend,
                "indexes": {name: _stats(each) for name, each in indexes.items()},
            }
        )

    return blueprint


def _checked_id(id: str) -> str:
    try:
        return check_id(id)
    except ValueError as exc:
        raise invalid(InvalidField(("_id",), str(exc))) from None


def _written(written: Written) -> dict[str, Any]:
    return {
        "written": written.written,
        "failed": [
            {"index": each.position, "_id": each.id, "code": each.code, "detail": each.detail}
            for each in written.failures
        ],
    }


def _stats(stats: IndexStats) -> dict[str, Any]:
    return {
        "records": stats.records,
        "dimension": stats.dimension,
        "metric": stats.metric,
        "namespaces": {name: {"records": count} for name, count in stats.namespaces.items()},
    }
