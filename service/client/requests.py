"""What is sent for each call, and how its answer is read. Sends nothing."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from secrets import token_bytes
from typing import Any, Literal, TypedDict, TypeVar
from urllib.parse import quote

from service.client import answers
from service.client.call import EVENTS, JSON, Call, encoded, given, texts
from service.client.errors import ConnectionFailed, InvalidArgument
from service.client.models import (
    Answer,
    Asked,
    IdPage,
    ImportPage,
    Job,
    Mode,
    Readiness,
    Record,
    SearchEvent,
    Stats,
    Written,
)
from service.client.sse import ServerEvent

T = TypeVar("T")
PATHS: dict[Mode, str] = {
    "semantic": "/api/semantic-search",
    "lexical": "/api/lexical-search",
    "cascading": "/api/cascading-retrieval",
}
RECORDS, IMPORTS, EXPORT = "/api/records", "/api/imports", "/api/export"
STREAM, TYPING = "/api/cascading-retrieval/stream", "/api/search/ws"
WATCH_SILENCE_S = 45.0  # the service is never silent for more than 15


class SearchOptions(TypedDict, total=False):
    """How to search. The service's defaults count where nothing is said; so does what is None."""

    top_k: int | None
    namespace: str | None
    filter: Mapping[str, Any] | None  # Pinecone's filter language
    fields: Sequence[str] | None  # which to answer with; ["*"] for all, the text without
    rerank: Literal["union", "per-leg", "none"] | None
    fusion: Literal["z-score", "min-max", "rrf"] | None  # cascading
    lexical_weight: float | None  # cascading: from 0 to 1
    explain: bool
    depth: int | None
    match_terms: Sequence[str] | None  # lexical: every result has all of these
    typos: bool
    highlight: bool
    timeout_ms: int | None  # by when the service has to answer, with what it has by then


class ExportOptions(TypedDict, total=False):
    """What to export: all records of a namespace without."""

    namespace: str | None
    filter: Mapping[str, Any] | None  # Pinecone's filter language
    fields: Sequence[str] | None


def search(mode: Mode, text: str, options: SearchOptions) -> Call[Answer]:
    if mode not in PATHS:
        raise InvalidArgument(f"mode is one of {', '.join(PATHS)}")
    asked = asked_for(mode, options)
    return _with_body(
        "POST", PATHS[mode], search_body(text, options), partial(answers.answer, asked=asked)
    )


def next_page(answer: Answer, top_k: int | None) -> Call[Answer]:
    body = given(cursor=answer.cursor, top_k=top_k)
    read = partial(answers.answer, asked=answer.asked)
    return _with_body("POST", PATHS[answer.asked.mode], body, read)


def stream(text: str, options: SearchOptions) -> Call[SearchEvent | None]:
    asked = asked_for("cascading", options)

    def read(event: ServerEvent) -> SearchEvent | None:
        return answers.search_event(event.name, answers.decoded(event.data), asked)

    headers = {"Content-Type": JSON, "Accept": EVENTS}
    body = encoded(search_body(text, options))
    return Call("POST", STREAM, read, body=body, headers=headers, long=True)


def asked_for(mode: Mode, options: SearchOptions) -> Asked:
    return Asked(mode, bool(options.get("explain")), bool(options.get("highlight")))


def search_body(text: str, options: SearchOptions) -> dict[str, Any]:
    if unknown := options.keys() - SearchOptions.__annotations__.keys():
        raise TypeError(f"no option of a search: {', '.join(sorted(unknown))}")
    return given(text_query=text, **options)


def upsert(
    records: Iterable[Mapping[str, Any]], namespace: str | None, wait: Literal["visible"] | None
) -> Call[Written]:
    parameters = given(namespace=namespace, wait=wait)
    return _with_body("POST", RECORDS, list(records), answers.written, parameters)


def get(id: str, namespace: str | None) -> Call[Record]:
    return Call("GET", _record(id), answers.record, given(namespace=namespace))


def list_ids(
    prefix: str | None, limit: int | None, cursor: str | None, namespace: str | None
) -> Call[IdPage]:
    parameters = texts(prefix=prefix, limit=limit, cursor=cursor, namespace=namespace)
    return Call("GET", RECORDS, answers.id_page, parameters)


def delete(
    ids: Iterable[str] | None,
    filter: Mapping[str, Any] | None,
    all: bool,
    namespace: str | None,
    wait: Literal["visible"] | None,
) -> Call[int | None]:
    """By filter, or all, is not repeated: it would take what was written between the tries."""
    if isinstance(ids, str):
        raise InvalidArgument("ids are several: put the one into a list")
    body = given(ids=None if ids is None else list(ids), filter=filter, all=all or None)
    if len(body) != 1:
        raise InvalidArgument("say which records to delete by exactly one of ids, filter or all")
    return Call(
        "DELETE",
        RECORDS,
        answers.deleted,
        given(namespace=namespace, wait=wait),
        encoded(body),
        {"Content-Type": JSON},
        repeatable="ids" in body,
    )


def stats() -> Call[Stats]:
    return Call("GET", "/api/stats", answers.stats)


def healthz() -> Call[None]:
    return Call("GET", "/healthz", answers.alive)


def ready() -> Call[Readiness]:
    """503 is an answer to this one."""
    return Call("GET", "/readyz", answers.readiness, answers_with=(200, 503))


def start_import(
    body: Iterator[bytes] | AsyncIterator[bytes],
    headers: Mapping[str, str],
    parameters: Mapping[str, Any],
) -> Call[Job]:
    """Not repeatable: a second one would be a second job."""
    return Call(
        "POST",
        IMPORTS,
        answers.job,
        texts(**parameters),
        body,
        headers,
        repeatable=False,
        long=True,
        answers_with=(202,),
    )


def get_import(id: str) -> Call[Job]:
    return Call("GET", _import(id), answers.job)


def list_imports(limit: int | None, cursor: str | None, status: str | None) -> Call[ImportPage]:
    parameters = texts(limit=limit, cursor=cursor, status=status)
    return Call("GET", IMPORTS, answers.import_page, parameters)


def cancel_import(id: str) -> Call[Job]:
    return Call("DELETE", _import(id), answers.job)


def import_events(id: str, after: str) -> Call[Job]:
    """From the event after the one with that id, as far as the service remembers."""

    def read(event: ServerEvent) -> Job:
        return answers.job(answers.decoded(event.data))

    headers = {"Accept": EVENTS} | ({"Last-Event-ID": after} if after else {})
    path = f"{_import(id)}/events"
    return Call("GET", path, read, headers=headers, long=True, silence_s=WATCH_SILENCE_S)


def export(format: Literal["ndjson", "csv"], options: ExportOptions) -> Call[Record]:
    if unknown := options.keys() - ExportOptions.__annotations__.keys():
        raise TypeError(f"no option of an export: {', '.join(sorted(unknown))}")
    filter, fields = options.get("filter"), options.get("fields")
    parameters = texts(
        namespace=options.get("namespace"),
        format=format,
        filter=None if filter is None else encoded(filter).decode(),
        fields=None if fields is None else ",".join(_listed(fields)),
    )
    headers = {"Accept": "*/*"}
    return Call("GET", EXPORT, _exported, parameters, headers=headers, long=True)


def _listed(fields: Sequence[str]) -> Sequence[str]:
    """They go into the URL, separated by commas."""
    if isinstance(fields, str):
        raise InvalidArgument("fields are several: put the one into a list")
    for name in fields:
        if "," in name or name != name.strip():
            raise InvalidArgument(f"the field {name!r} can't be asked for by its name: export all")
    return fields


def _exported(line: bytes) -> Record:
    return answers.record(answers.decoded(line))


def typing() -> Call[None]:
    """A handshake after RFC 6455, whose answer is the connection itself."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(token_bytes(16)).decode(),
    }
    return Call("GET", TYPING, lambda _: None, headers=headers, long=True, answers_with=(101,))


def broke_off(what: str) -> ConnectionFailed:
    """What it is if a stream has ended before what it tells of."""
    return ConnectionFailed(f"The service stopped telling of the {what} before it had ended")


def _with_body(
    method: str,
    path: str,
    body: Any,
    read: Callable[[Any], T],
    parameters: Mapping[str, str] | None = None,
) -> Call[T]:
    return Call(method, path, read, parameters or {}, encoded(body), {"Content-Type": JSON})


def _record(id: str) -> str:
    """Dots as well: `..` would be another path."""
    if not id:
        raise InvalidArgument("an id has at least one character")
    return f"{RECORDS}/{quote(id, safe='').replace('.', '%2E')}"


def _import(id: str) -> str:
    if not id.isalnum() or not id.isascii():
        raise InvalidArgument("the id of an import has letters and digits only")
    return f"{IMPORTS}/{id}"
