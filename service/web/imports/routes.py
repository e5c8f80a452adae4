"""Imports over HTTP: upload, list, watch and cancel."""

from __future__ import annotations

from quart import Blueprint, Request, Response, g, request

from service.access.grant import Grant
from service.access.limits import Usage
from service.access.policy import AccessPolicy
from service.admission.transfer_limit import TransferLimit
from service.errors import BodyTimeout, BodyTooLarge, InvalidRequest, RequestError
from service.jobs.job import Job, Plan
from service.jobs.jobs import Jobs
from service.settings import Settings
from service.web.admission_middleware import convert_to_transfer
from service.web.auditing import audit_details
from service.web.authentication import authorize_writes, requires
from service.web.bodies import drain_body
from service.web.imports.counting import counted_bytes
from service.web.imports.events import events_response
from service.web.imports.schemas import (
    ImportBody,
    ImportEvent,
    ImportJob,
    ImportList,
    ImportParameters,
    ListImportsParameters,
    check_alternatives,
    job_body,
)
from service.web.imports.uploads import check_text_parameters, choose_format, receive_upload
from service.web.openapi.operation import documented
from service.web.parameters import read_parameters
from service.web.responses import NoMoreEvents, json_response

PATH = "/api/imports"
DEFAULT_PAGE = 20
READ_ERRORS = (400, 401, 422, 500, 503)
ACCEPTED = 202


def imports_blueprint(settings: Settings, jobs: Jobs, policy: AccessPolicy) -> Blueprint:
    blueprint = Blueprint("imports", __name__)
    authorize_writes(blueprint, policy)
    uploads = TransferLimit("uploads", settings.max_transfers)

    @blueprint.post(PATH)
    @documented(
        "imports",
        "import",
        {ACCEPTED: ImportJob},
        (*READ_ERRORS, 403, 507),
        query=ImportParameters,
        body=ImportBody,
    )
    @requires("imports")
    async def begin_import() -> Response:
        """Upload records to write in the background.

        The body is NDJSON, a JSON array, CSV, TSV, Markdown, HTML or PDF, optionally compressed
        with gzip, or a form with one such file. The response is sent when the upload is complete
        and stored; then its records are written.
        """
        parameters = read_parameters(ImportParameters, request.query_string)
        check_alternatives(parameters)
        g.namespace = parameters.namespace or settings.pinecone_namespace  # for the logs
        try:
            convert_to_transfer(request.scope, uploads)  # an upload may take hours
            g.grant.require_whole_records(g.namespace)
            job = await _store_upload(request, parameters, settings, jobs, g.grant)
        except BodyTimeout:
            raise
        except RequestError:
            await drain_body(request)
            raise
        audit_details(import_id=job.id, format=job.plan.format)
        response = json_response(job_body(job), ACCEPTED)
        response.headers["Location"] = f"{PATH}/{job.id}"
        return response

    @blueprint.get(PATH)
    @documented("imports", "imports", ImportList, READ_ERRORS, query=ListImportsParameters)
    @requires("imports")
    async def list_imports() -> Response:
        """List imports, newest first."""
        parameters = read_parameters(ListImportsParameters, request.query_string)
        page = await jobs.list(
            parameters.limit or DEFAULT_PAGE,
            parameters.cursor,
            parameters.status,
            g.grant.import_owner,
        )
        return json_response(
            {"imports": [job_body(job) for job in page.jobs], "cursor": page.cursor}
        )

    @blueprint.get(f"{PATH}/<import_id>")
    @documented("imports", "import", ImportJob, (*READ_ERRORS, 404))
    @requires("imports")
    async def get_import(import_id: str) -> Response:
        """Read the state of an import."""
        return json_response(job_body(await jobs.get(import_id, g.grant.import_owner)))

    @blueprint.delete(f"{PATH}/<import_id>")
    @documented("imports", "import", ImportJob, (*READ_ERRORS, 403, 404))
    @requires("imports")
    async def cancel_import(import_id: str) -> Response:
        """Cancel an import. Records that are already written stay.

        Has no effect on an import that has ended.
        """
        audit_details(import_id=import_id)
        job = await jobs.cancel(import_id, g.grant.import_owner)
        g.namespace = job.plan.namespace  # for the logs
        return json_response(job_body(job))

    @blueprint.get(f"{PATH}/<import_id>/events")
    @documented(
        "imports", "import_events", {200: ImportEvent, 204: NoMoreEvents}, (*READ_ERRORS, 404)
    )
    @requires("imports")
    async def import_events(import_id: str) -> Response:
        """Watch an import as a stream of server-sent events.

        Each change of the import is a `progress` event, and its end is a `done` event. Send
        `Last-Event-ID` to continue after an event. The response is 204 if that was `done`.
        """
        last_event_id = request.headers.get("Last-Event-ID", "")
        return await events_response(jobs, import_id, g.grant.import_owner, last_event_id)

    return blueprint


async def _store_upload(
    request: Request, parameters: ImportParameters, settings: Settings, jobs: Jobs, grant: Grant
) -> Job:
    """Receive the upload, and return its job."""
    length = request.content_length
    if length is not None and length > settings.max_import_bytes:
        raise BodyTooLarge(
            f"The upload has {length} bytes; the limit is {settings.max_import_bytes} bytes "
            "(MAX_IMPORT_BYTES)"
        )
    g.account.require_room(Usage(bytes=length or 0))
    upload = await receive_upload(request, settings.body_timeout_s)
    name = parameters.name or upload.name
    format = choose_format(parameters.format, name, upload)
    check_text_parameters(parameters, format, name)
    chosen = {
        "namespace": parameters.namespace or settings.pinecone_namespace,
        "name": name,
        "format": format,
        "encoding": parameters.encoding or upload.charset,
        "only_namespace": grant.is_scoped,
        "key_id": grant.key_id,
        "records_per_day": grant.quota.records if grant.quota else None,
    }
    given = parameters.model_dump(exclude={"id_field"})
    plan = Plan(**{**given, **chosen, "id_column": parameters.id_field or given["id_column"]})
    async with jobs.receive(plan, length or 0, grant.tenant) as file:
        size = 0
        async for chunk in counted_bytes(upload.chunks, g.account):
            size += len(chunk)
            await file.write(chunk)
        if not size:
            raise InvalidRequest("The upload is empty; send at least one record")
        return await file.commit()
