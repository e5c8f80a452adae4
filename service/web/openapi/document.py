"""The OpenAPI document, from the URL map, the operations of the views, and their models.

It is built before the service listens: the first schema of each model takes time, and would hold
up other requests.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
from pydantic.json_schema import models_json_schema
from quart import Quart
from werkzeug.http import HTTP_STATUS_CODES  # http.HTTPStatus renames some in Python 3.13
from werkzeug.routing import Rule

from service.errors import RequestError
from service.version import VERSION
from service.web.errors import ErrorResponse
from service.web.openapi.operation import LIMITED, Model, Operation, media_types
from service.web.openapi.schemas import (
    RECEIVED,
    REF,
    SENT,
    TEXT,
    Mode,
    WithoutTitles,
    query_parameters,
    response_headers,
)
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
PATH_PARAMETER = re.compile("<(?:[^:>]*:)?([^>]+)>")
RETRY_AFTER = "After how many seconds to try again."


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
        list(models), ref_template=REF, schema_generator=WithoutTitles
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
        parameters += query_parameters(operation.query)
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
            response["headers"] = response_headers(operation.headers)
        if model.model_fields:
            response["content"] = _content(model, refs[model, SENT])
        responses[str(status)] = response
    for status in operation.errors:
        responses[str(status)] = {"$ref": f"#/components/responses/{_response_name(status)}"}
    return described | {"responses": dict(sorted(responses.items()))}


def _content(model: Model, ref: Any) -> dict[str, Any]:
    return {
        media_type: {"schema": schema or ref} for media_type, schema in media_types(model).items()
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
