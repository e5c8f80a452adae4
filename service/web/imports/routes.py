"""Imports over HTTP: upload, look, listen, cancel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from quart import Blueprint, Quart, Request, Response, request
from quart_schema import document_querystring, document_request, document_response

from service.access.policy import AccessPolicy
from service.admission.transfer_limit import TransferLimit
from service.errors import BodyTimeout, BodyTooLarge, InvalidRequest, RequestError
from service.jobs.job import Job, JobPage, Plan, Status
from service.jobs.upload import Upload
from service.settings import Settings
from service.web.admission_middleware import leave
from service.web.authentication import check_write
from service.web.http_connection import drain_body
from service.web.imports.events import events_response
from service.web.imports.schemas import (
    EndKnown,
    ImportBody,
    ImportEvents,
    ImportJob,
    ImportList,
    ImportParameters,
    ListImports,
    job_body,
)
from service.web.imports.uploads import format_of, sent
from service.web.openapi import documented
from service.web.records.reading import read_parameters
from service.web.search.rendering import json_response

PATH = "/api/imports"
LISTED = 20
READS = (400, 401, 422, 500, 503)
ACCEPTED = 202
EMPTY = "There is nothing in the upload"


class ImportJobs(Protocol):
    """What this face needs to have behind it."""

    def receive(self, plan: Plan, expected: int) -> AbstractAsyncContextManager[Upload]: ...

    async def get(self, id: str) -> Job: ...

    async def list(self, limit: int, cursor: str | None, status: Status | None) -> JobPage: ...

    async def cancel(self, id: str) -> Job: ...

    def watch(
        self, id: str, after: int | None, *, beat_s: float | None
    ) -> AbstractAsyncContextManager[AsyncIterator[Job]]: ...


def install(app: Quart, settings: Settings, jobs: ImportJobs, door: AccessPolicy) -> None:
    """The routes of /api/imports; whoever may not write is stopped before them."""
    blueprint = imports_blueprint(settings, jobs)

    @blueprint.before_request
    async def at_the_door() -> None:
        await check_write(door)

    app.register_blueprint(blueprint)


def imports_blueprint(settings: Settings, jobs: ImportJobs) -> Blueprint:
    """The routes alone."""
    blueprint = Blueprint("imports", __name__)
    uploads = TransferLimit("uploads", settings.max_transfers)

    @blueprint.post(PATH)
    @documented("imports", "import", ImportJob, (*READS, 403, 408, 413, 415, 507), status=ACCEPTED)
    @document_querystring(ImportParameters)
    @document_request(ImportBody)
    async def begin_import() -> Response:
        """Upload records to be written in the background.

        The body is NDJSON, CSV or TSV, packed with gzip or not, or a form with one such file. It is
        kept on disk, and answered when all of it is there; then its records are written.
        """
        parameters = read_parameters(ImportParameters, request.query_string)
        try:
            leave(request.scope, uploads)  # it may come for hours
            job = await _received(request, parameters, settings, jobs)
        except BodyTimeout:
            raise
        except RequestError:
            await drain_body(request)
            raise
        response = json_response(job_body(job), ACCEPTED)
        response.headers["Location"] = f"{PATH}/{job.id}"
        return response

    @blueprint.get(PATH)
    @documented("imports", "imports", ImportList, READS)
    @document_querystring(ListImports)
    async def list_imports() -> Response:
        """List imports, newest first."""
        asked = read_parameters(ListImports, request.query_string)
        page = await jobs.list(asked.limit or LISTED, asked.cursor, asked.status)
        return json_response(
            {"imports": [job_body(job) for job in page.jobs], "cursor": page.cursor}
        )

    @blueprint.get(f"{PATH}/<import_id>")
    @documented("imports", "import", ImportJob, (*READS, 404))
    async def get_import(import_id: str) -> Response:
        """How far an import has come."""
        return json_response(job_body(await jobs.get(import_id)))

    @blueprint.delete(f"{PATH}/<import_id>")
    @documented("imports", "import", ImportJob, (*READS, 403, 404))
    async def cancel_import(import_id: str) -> Response:
        """Stop an import; what was written stays. One that has ended is answered as it is."""
        return json_response(job_body(await jobs.cancel(import_id)))

    @blueprint.get(f"{PATH}/<import_id>/events")
    @documented("imports", "import_events", ImportEvents, (*READS, 404))
    @document_response(EndKnown, 204)
    async def listen_to_import(import_id: str) -> Response:
        """Server-sent events: `progress` with the import at each change, `done` at the end.

        `Last-Event-ID` leads on from there. To one who knows the end already, the answer is 204.
        """
        last = request.headers.get("Last-Event-ID", "")
        return await events_response(jobs, import_id, last)

    return blueprint


async def _received(
    request: Request, parameters: ImportParameters, settings: Settings, jobs: ImportJobs
) -> Job:
    """The job of an upload, once all of it has come."""
    length = request.content_length
    if length is not None and length > settings.max_import_bytes:
        raise BodyTooLarge(
            f"An import has at most {settings.max_import_bytes} bytes (MAX_IMPORT_BYTES)"
        )
    upload = await sent(request, settings.body_timeout_s)
    name = parameters.name or upload.name
    plan = Plan(
        namespace=parameters.namespace or settings.pinecone_namespace,
        name=name,
        format=format_of(parameters.format, name, upload),
        on_error=parameters.on_error,
        text_field=parameters.text_field,
        id_column=parameters.id_column,
        flatten=parameters.flatten,
        delimiter=parameters.delimiter,
        strings=parameters.strings,
    )
    async with jobs.receive(plan, length or 0) as file:
        size = 0
        async for piece in upload.chunks:
            size += len(piece)
            await file.write(piece)
        if not size:
            raise InvalidRequest(EMPTY)
        return await file.keep()
