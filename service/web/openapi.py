"""The OpenAPI document: what the views say of themselves, and pydantic's schemas of their models.

`documented` stores an `Operation` on a view. The document is built from the URL map before the
service listens: the first schema of each model takes time, and would hold up other requests.
"""

from __future__ import annotations

import gzip
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from quart import Quart, Response, request
from werkzeug.http import HTTP_STATUS_CODES  # http.HTTPStatus renames some in Python 3.13
from werkzeug.routing import Rule

from service.access.policy import AccessPolicy
from service.errors import RequestError
from service.version import VERSION
from service.web.errors import ErrorResponse
from service.web.rate_limits import HEADERS as RATE_LIMIT_HEADERS
from service.web.responses import JSON

DESCRIPTION = "Semantic, lexical and cascading search over your records."
SEARCH = """\
Search records by meaning, by words, or by both at once. Two interfaces send results before a \
search is complete: `/api/cascading-retrieval/stream`, as server-sent events, and a WebSocket at \
`/api/search/ws`, for search as you type. OpenAPI can't describe a WebSocket. Send `{"type": \
"search", "mode": "cascading", "seq": 1, "text_query": "…"}` with the parameters of a search; \
`seq` grows with every message. Each answer has the `seq` of its message, and is the results after \
one stage. A newer message replaces the search before it. If the service has keys and the client \
can't send headers, the first message is `{"type": "hello", "key": "…"}`."""
TAGS = {
    "search": SEARCH,
    "records": "Write, read, list, delete, count and export records.",
    "imports": "Write many records in the background.",
    "keys": "API keys with rights.",
    "operations": "Health checks.",
}
KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of the service."},
    "header": {"type": "apiKey", "in": "header", "name": "Api-Key", "description": "The same."},
}
EXAMPLES = Path(__file__).with_name("examples.json")
TEXT = {"type": "string"}
REF = "#/components/schemas/{model}"
PATH_PARAMETER = re.compile("<(?:[^:>]*:)?([^>]+)>")
OK, NOT_MODIFIED = 200, 304
BODY_ERRORS = (408, 413, 415)  # of every operation with a body
LIMITED = 429
ANY_ERRORS = (400, 431, 500)  # of every operation: the server itself sends them
PROTECTED_ERRORS = (401, 403, LIMITED)  # of every operation that is not public
RETRY_AFTER = "After how many seconds to try again."

Model = type[BaseModel]
Mode = Literal["validation", "serialization"]
RECEIVED: Mode = "validation"
SENT: Mode = "serialization"
ViewT = TypeVar("ViewT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Operation:
    """What a view says of itself. A model without fields stands for a response without a body.

    `parameters` are the query string of a GET, and the body of a POST.
    """

    tag: str
    name: str
    responses: Mapping[int, Model]
    errors: Sequence[int]
    query: Model | None = None
    body: Model | None = None
    parameters: Model | None = None
    headers: Model | None = None
    is_public: bool = False

    def by(self, method: str) -> Operation:
        """The operation of one of the view's methods."""
        operation = self
        if self.parameters and method == "GET":
            operation = replace(self, query=self.parameters)
        elif self.parameters:
            bodies = {status: each for status, each in self.responses.items() if each.model_fields}
            operation = replace(self, body=self.parameters, responses=bodies)
        if operation.body:
            operation = replace(operation, errors=(*operation.errors, *BODY_ERRORS))
        if not operation.is_public:
            operation = replace(operation, errors=(*operation.errors, *PROTECTED_ERRORS))
        return replace(operation, errors=(*operation.errors, *ANY_ERRORS))


def documented(
    tag: str,
    name: str,
    responses: Model | Mapping[int, Model],
    errors: Sequence[int] = (),
    **described: Any,
) -> Callable[[ViewT], ViewT]:
    """Document a view as an `Operation`. Its docstring is the summary and the description."""
    by_status = responses if isinstance(responses, Mapping) else {OK: responses}

    def decorate(view: ViewT) -> ViewT:
        view.operation = Operation(tag, name, by_status, errors, **described)  # type: ignore[attr-defined]
        return view

    return decorate


def install(app: Quart, policy: AccessPolicy) -> None:
    """Serve the document at /api/openapi.json. `browsers/documentation.py` has its page."""
    documents: dict[bool, ServedDocument] = {}

    @app.before_serving
    async def build() -> None:
        content = build_document(app)
        documents[False] = ServedDocument(content)
        documents[True] = ServedDocument(content | {"security": [{name: []} for name in KEYS]})

    @app.get("/api/openapi.json", endpoint="openapi")
    async def openapi() -> Response:
        if not documents:  # an app that is called without being served
            await build()
        return documents[policy.requires_key].response()


@dataclass(slots=True)
class ServedDocument:
    """The document as it is sent."""

    content: dict[str, Any]
    plain: bytes = field(init=False)
    compressed: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.plain = orjson.dumps(self.content)
        self.compressed = gzip.compress(self.plain)

    def response(self) -> Response:
        headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        response = Response(self.plain, content_type=JSON, headers=headers)
        if request.root_path:  # mounted in another application
            servers = [{"url": request.root_path}]
            response.set_data(orjson.dumps(self.content | {"servers": servers}))
        elif request.accept_encodings.quality("gzip"):
            response.set_data(self.compressed)
            response.headers["Content-Encoding"] = "gzip"
        return response


def build_document(app: Quart) -> dict[str, Any]:
    """The document of a service without keys."""
    operations = sorted(_operations(app), key=lambda each: list(TAGS).index(each[2].tag))
    models: dict[tuple[Model, Mode], None] = {(ErrorResponse, SENT): None}
    errors: set[int] = set()
    for *_, operation in operations:
        errors.update(operation.errors)
        if operation.body and None in media_types(operation.body).values():
            models[operation.body, RECEIVED] = None
        for model in operation.responses.values():
            if model.model_fields:
                models[model, SENT] = None
    refs, definitions = models_json_schema(
        list(models), ref_template=REF, schema_generator=_WithoutTitles
    )
    schemas = definitions["$defs"]
    for name, example in orjson.loads(EXAMPLES.read_bytes()).items():
        schemas[name]["examples"] = [example]
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, operation in operations:
        path = paths.setdefault(PATH_PARAMETER.sub(r"{\1}", rule.rule), {})
        doc = inspect.getdoc(app.view_functions[rule.endpoint]) or ""
        path[method.lower()] = _describe(rule, method, doc, operation, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cascade", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": KEYS,
            "responses": {
                _response_name(status): _error_response(status, refs[ErrorResponse, SENT])
                for status in sorted(errors)
            },
            "schemas": schemas,
        },
    }


class _WithoutTitles(GenerateJsonSchema):
    """Fields have no titles: they would repeat the names."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False


def _operations(app: Quart) -> Iterator[tuple[Rule, str, Operation]]:
    for rule in app.url_map.iter_rules():
        operation: Operation | None = getattr(app.view_functions[rule.endpoint], "operation", None)
        if operation:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method, operation.by(method)


def _describe(
    rule: Rule, method: str, doc: str, operation: Operation, refs: Mapping[Any, Any]
) -> dict[str, Any]:
    summary, _, description = doc.partition("\n")
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": TEXT | {"minLength": 1}}
        for name in sorted(rule.arguments)
    ]
    if operation.query:
        parameters += _query_parameters(operation.query)
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "operationId": f"{method.lower()}_{operation.name}",
        "summary": summary,
        "description": description.strip(),
        "parameters": parameters,
    }
    if operation.is_public:
        described["security"] = []
    if operation.body:
        content = _content(operation.body, refs.get((operation.body, RECEIVED)))
        described["requestBody"] = {"required": True, "content": content}
    responses: dict[str, Any] = {}
    for status, model in operation.responses.items():
        response: dict[str, Any] = {"description": inspect.getdoc(model)}
        if operation.headers:
            response["headers"] = _headers(operation.headers)
        if model.model_fields:
            response["content"] = _content(model, refs[model, SENT])
        responses[str(status)] = response
    for status in operation.errors:
        responses[str(status)] = {"$ref": f"#/components/responses/{_response_name(status)}"}
    return described | {"responses": dict(sorted(responses.items()))}


def media_types(model: Model) -> Mapping[str, Any]:
    """The schema by media type; None stands for the model's own. JSON by default."""
    return getattr(model, "media_types", {JSON: None})


def _content(model: Model, ref: Any) -> dict[str, Any]:
    return {
        media_type: {"schema": schema or ref} for media_type, schema in media_types(model).items()
    }


def _query_parameters(model: Model) -> Iterator[dict[str, Any]]:
    schema = model.model_json_schema(ref_template=REF, schema_generator=_WithoutTitles)
    for name, described in schema["properties"].items():
        value = _without_null(described)
        description = value.pop("description", "")
        if value.get("type") == "array":
            description += " Repeat it, or separate several values with commas."
        if value.get("type") == "object":
            description += " A URL-encoded JSON object."
            value = TEXT | {"contentMediaType": JSON}
        yield {"name": name, "in": "query", "description": description.strip(), "schema": value}


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter is never null: it is left out."""
    described = {name: value for name, value in schema.items() if name != "anyOf"}
    if described.get("default", ...) is None:
        del described["default"]
    for option in schema.get("anyOf", ()):
        if option != {"type": "null"}:
            described |= option
    return described


def _headers(model: Model) -> dict[str, Any]:
    schema = model.model_json_schema(mode=SENT, schema_generator=_WithoutTitles)
    return {
        name: {"description": described["description"], "schema": {"type": described["type"]}}
        for name, described in schema["properties"].items()
    }


def _response_name(status: int) -> str:
    return re.sub("[^a-z]", "", HTTP_STATUS_CODES[status].title(), flags=re.IGNORECASE)


def _error_response(status: int, ref: Any) -> dict[str, Any]:
    codes = ", ".join(f"`{code}`" for code in sorted(_codes(RequestError, status)))
    response: dict[str, Any] = {
        "description": f"{HTTP_STATUS_CODES[status]}. The code is one of {codes}.",
        "content": {JSON: {"schema": ref}},
    }
    if status in {LIMITED, HTTPStatus.SERVICE_UNAVAILABLE}:
        described = {"Retry-After": RETRY_AFTER}
        if status == LIMITED:
            described |= RATE_LIMIT_HEADERS
        response["headers"] = {
            name: {"description": description, "schema": {"type": "integer"}}
            for name, description in described.items()
        }
    return response


def _codes(kind: type[RequestError], status: int) -> set[str]:
    own = {kind.code} if kind.status == status else set()
    return own.union(*(_codes(child, status) for child in kind.__subclasses__()))
