"""One function for each endpoint of the service. Each returns a `Call`; none does any I/O."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from secrets import token_bytes
from typing import Any, Literal, TypedDict, TypeVar
from urllib.parse import quote

from service.client import responses
from service.client.call import (
    EVENT_STREAM,
    JSON,
    Call,
    encode_json,
    query_parameters,
    without_none,
)
from service.client.errors import InvalidArgument
from service.client.models import (
    Answer,
    ApiKey,
    IdPage,
    ImportPage,
    Job,
    Mode,
    NamespaceStats,
    Readiness,
    Record,
    SearchContext,
    SearchEvent,
    Stats,
    Written,
)
from service.client.sse import ServerSentEvent

T = TypeVar("T")
SEARCH_PATHS: dict[Mode, str] = {
    "semantic": "/api/semantic-search",
    "lexical": "/api/lexical-search",
    "cascading": "/api/cascading-retrieval",
}
RECORDS, IMPORTS, EXPORT = "/api/records", "/api/imports", "/api/export"
KEYS = "/api/keys"
STREAM, TYPING = "/api/cascading-retrieval/stream", "/api/search/ws"
IMPORT_EVENTS_READ_TIMEOUT_S = 45.0  # the service sends a keep-alive comment every 15 s


class SearchOptions(TypedDict, total=False):
    """Options of a search. An option that is missing or None has the service's default."""

    top_k: int | None
    namespace: str | None
    filter: Mapping[str, Any] | None  # Pinecone's filter language
    fields: Sequence[str] | None  # fields to return; ["*"] returns all of them
    rerank: Literal["union", "per-leg", "none"] | None
    fusion: Literal["z-score", "min-max", "rrf"] | None  # cascading only
    lexical_weight: float | None  # cascading only: from 0 to 1
    explain: bool
    depth: int | None
    match_terms: Sequence[str] | None  # lexical only: each result contains all of these
    typos: bool
    highlight: bool
    offsets: Literal["characters", "utf16"] | None  # the unit of highlights
    timeout_ms: int | None  # the deadline by which the service answers with what it has


class ExportOptions(TypedDict, total=False):
    """Options of an export. Without options, it has every record of the default namespace."""

    namespace: str | None  # "*" for all: each record then has its `_namespace`
    filter: Mapping[str, Any] | None  # Pinecone's filter language
    fields: Sequence[str] | None


class KeyOptions(TypedDict, total=False):
    """The limits of a key. One that is missing or None is no limit."""

    namespaces: Sequence[str] | None  # `prefix*` stands for all that begin so
    filter: Mapping[str, Any] | None  # it sees only records that match
    fields: Sequence[str] | None  # it sees only these
    rate: str | None  # such as 5/s, 100/m or 1000/h
    quota: Mapping[str, int] | None  # a day: read_units, records, bytes
    expires_at: datetime | str | None


def search(mode: Mode, text: str, options: SearchOptions) -> Call[Answer]:
    if mode not in SEARCH_PATHS:
        raise InvalidArgument(f"mode must be one of {', '.join(SEARCH_PATHS)}")
    parse = partial(responses.answer, context=search_context(mode, options))
    return _post(SEARCH_PATHS[mode], search_body(text, options), parse)


def next_page(answer: Answer, top_k: int | None) -> Call[Answer]:
    body = without_none(cursor=answer.cursor, top_k=top_k)
    parse = partial(responses.answer, context=answer.context)
    return _post(SEARCH_PATHS[answer.context.mode], body, parse)


def stream(text: str, options: SearchOptions) -> Call[SearchEvent | None]:
    context = search_context("cascading", options)

    def parse(event: ServerSentEvent) -> SearchEvent | None:
        return responses.search_event(event.name, responses.decode_json(event.data), context)

    headers = {"Content-Type": JSON, "Accept": EVENT_STREAM}
    body = encode_json(search_body(text, options))
    return Call("POST", STREAM, parse, body=body, headers=headers, is_streaming=True)


def search_context(mode: Mode, options: SearchOptions) -> SearchContext:
    return SearchContext(mode, bool(options.get("explain")), bool(options.get("highlight")))


def search_body(text: str, options: SearchOptions) -> dict[str, Any]:
    check_options(options, SearchOptions, "search")
    return without_none(text_query=text, **options)


def upsert(
    records: Iterable[Mapping[str, Any]], namespace: str | None, wait: Literal["visible"] | None
) -> Call[Written]:
    parameters = without_none(namespace=namespace, wait=wait)
    return _post(RECORDS, list(records), responses.written, parameters)


def get(id: str, namespace: str | None) -> Call[Record]:
    return Call("GET", _record_path(id), responses.record, without_none(namespace=namespace))


def list_ids(
    prefix: str | None, limit: int | None, cursor: str | None, namespace: str | None
) -> Call[IdPage]:
    parameters = query_parameters(prefix=prefix, limit=limit, cursor=cursor, namespace=namespace)
    return Call("GET", RECORDS, responses.id_page, parameters)


def delete(
    ids: Iterable[str] | None,
    filter: Mapping[str, Any] | None,
    all: bool,
    namespace: str | None,
    wait: Literal["visible"] | None,
) -> Call[int | None]:
    """Only deletion by ids is idempotent: the others would delete what was written in between."""
    if isinstance(ids, str):
        raise InvalidArgument("ids must be a list of ids, not one string")
    body = without_none(ids=None if ids is None else list(ids), filter=filter, all=all or None)
    if len(body) != 1:
        raise InvalidArgument("give exactly one of ids, filter and all")
    return Call(
        "DELETE",
        RECORDS,
        responses.deleted,
        without_none(namespace=namespace, wait=wait),
        encode_json(body),
        {"Content-Type": JSON},
        is_idempotent="ids" in body,
    )


def stats() -> Call[Stats]:
    return Call("GET", "/api/stats", responses.stats)


def namespaces() -> Call[dict[str, NamespaceStats]]:
    return Call("GET", "/api/namespaces", responses.namespaces)


def create_key(name: str, actions: Sequence[str], options: KeyOptions) -> Call[ApiKey]:
    """Not idempotent: a second request would create another key."""
    check_options(options, KeyOptions, "a key")
    if isinstance(actions, str):
        raise InvalidArgument("actions must be a list of names, not one string")
    given: dict[str, Any] = {**options}
    if isinstance(moment := given.get("expires_at"), datetime):
        given["expires_at"] = moment.isoformat()
    body = without_none(name=name, actions=list(actions), **given)
    return Call(
        "POST",
        KEYS,
        responses.api_key,
        body=encode_json(body),
        headers={"Content-Type": JSON},
        is_idempotent=False,
        success_statuses=(201,),
    )


def keys() -> Call[tuple[ApiKey, ...]]:
    return Call("GET", KEYS, responses.api_keys)


def revoke_key(id: str) -> Call[ApiKey]:
    return Call("DELETE", _key_path(id), responses.api_key)


def rotate_key(id: str, grace_s: int) -> Call[ApiKey]:
    """Not idempotent: a second request would end the secret of the first one."""
    parameters = query_parameters(grace_s=grace_s)
    path = f"{_key_path(id)}/rotate"
    return Call("POST", path, responses.api_key, parameters, is_idempotent=False)


def healthz() -> Call[None]:
    return Call("GET", "/healthz", responses.alive)


def ready() -> Call[Readiness]:
    """The service reports that it is not ready with status 503 and the same body."""
    return Call("GET", "/readyz", responses.readiness, success_statuses=(200, 503))


def start_import(
    body: Iterator[bytes] | AsyncIterator[bytes],
    headers: Mapping[str, str],
    parameters: Mapping[str, Any],
) -> Call[Job]:
    """Not idempotent: a second request would start a second job."""
    return Call(
        "POST",
        IMPORTS,
        responses.job,
        query_parameters(**parameters),
        body,
        headers,
        is_idempotent=False,
        is_streaming=True,
        success_statuses=(202,),
    )


def get_import(id: str) -> Call[Job]:
    return Call("GET", _import_path(id), responses.job)


def list_imports(limit: int | None, cursor: str | None, status: str | None) -> Call[ImportPage]:
    parameters = query_parameters(limit=limit, cursor=cursor, status=status)
    return Call("GET", IMPORTS, responses.import_page, parameters)


def cancel_import(id: str) -> Call[Job]:
    return Call("DELETE", _import_path(id), responses.job)


def import_events(id: str, last_event_id: str) -> Call[Job]:
    """The events after `last_event_id`, as far back as the service keeps them."""

    def parse(event: ServerSentEvent) -> Job:
        return responses.job(responses.decode_json(event.data))

    headers = {"Accept": EVENT_STREAM}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    return Call(
        "GET",
        f"{_import_path(id)}/events",
        parse,
        headers=headers,
        is_streaming=True,
        read_timeout_s=IMPORT_EVENTS_READ_TIMEOUT_S,
    )


def export(
    format: Literal["ndjson", "csv"],
    options: ExportOptions,
    csv_formulas: Literal["keep", "escape"] | None = None,
) -> Call[Record]:
    check_options(options, ExportOptions, "export")
    filter, fields = options.get("filter"), options.get("fields")
    parameters = query_parameters(
        namespace=options.get("namespace"),
        format=format,
        filter=None if filter is None else encode_json(filter).decode(),
        fields=None if fields is None else _field_list(fields),
        csv_formulas=csv_formulas,
    )

    def parse(line: bytes) -> Record:
        return responses.record(responses.decode_json(line))

    return Call("GET", EXPORT, parse, parameters, headers={"Accept": "*/*"}, is_streaming=True)


def typing() -> Call[None]:
    """The WebSocket handshake of RFC 6455."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(token_bytes(16)).decode(),
    }
    return Call(
        "GET", TYPING, lambda _: None, headers=headers, is_streaming=True, success_statuses=(101,)
    )


def _post(
    path: str, body: Any, parse: Callable[[Any], T], parameters: Mapping[str, str] | None = None
) -> Call[T]:
    return Call("POST", path, parse, parameters or {}, encode_json(body), {"Content-Type": JSON})


def check_options(options: Mapping[str, Any], allowed: type, what: str) -> None:
    if unknown := options.keys() - allowed.__annotations__.keys():
        raise TypeError(f"unknown option of {what}: {', '.join(sorted(unknown))}")


def _field_list(fields: Sequence[str]) -> str:
    """The URL parameter separates fields by commas, so a name can't contain one."""
    if isinstance(fields, str):
        raise InvalidArgument("fields must be a list of names, not one string")
    for name in fields:
        if "," in name or name != name.strip():
            raise InvalidArgument(
                f"the field {name!r} has a comma, or a space at an end: export all fields instead"
            )
    return ",".join(fields)


def _record_path(id: str) -> str:
    """Dots are percent-encoded too: `..` would be another path."""
    if not id:
        raise InvalidArgument("an id has at least one character")
    return f"{RECORDS}/{quote(id, safe='').replace('.', '%2E')}"


def _key_path(id: str) -> str:
    if not id.isalnum() or not id.isascii():
        raise InvalidArgument(f"{id!r} is not the id of a key: it has letters and digits only")
    return f"{KEYS}/{id}"


def _import_path(id: str) -> str:
    if not id.isalnum() or not id.isascii():
        raise InvalidArgument(f"{id!r} is not the id of an import: it has letters and digits only")
    return f"{IMPORTS}/{id}"
