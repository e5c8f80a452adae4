"""The OpenAPI document, built once per process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel
from quart import Quart, Response
from quart_schema import (
    Info,
    OpenAPIProvider,
    QuartSchema,
    Tag,
    document_response,
    hide,
    operation_id,
    tag,
)

from service.version import VERSION
from service.web.errors import ErrorResponse

DESCRIPTION = "Semantic, lexical and cascading search over your records."
TAGS: list[Tag | dict[Any, Any]] = [
    Tag("search", description="Search records by meaning, by words, or by both at once."),
    Tag("records", description="Write, read, list, delete, count and export records."),
    Tag("imports", description="Write many records in the background."),
    Tag("operations", description="Health checks."),
]

ViewT = TypeVar("ViewT", bound=Callable[..., Any])


class Provider(OpenAPIProvider):
    """Documents response headers where OpenAPI has them, and media types other than JSON.

    A model sets its media types with a class variable `media_types`.
    """

    def build_request_body(self, model: Any, source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        body, definitions = super().build_request_body(model, source)
        if media_types := getattr(model, "media_types", None):
            (content,) = body["content"].values()
            body["content"] = dict.fromkeys(media_types, content)
        return body, definitions

    def build_response_object(
        self, model: Any, headers_model: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        response, definitions = super().build_response_object(model, headers_model)
        if headers := response["content"].pop("headers", None):
            response["headers"] = headers
        if media_types := getattr(model, "media_types", None):
            content = response["content"]["application/json"]
            response["content"] = dict.fromkeys(media_types, content)
        if not model.model_fields:
            del response["content"]
        return response, definitions


class CachedSchema(QuartSchema):
    """Building the document takes 30 ms, and its content never changes."""

    def init_app(self, app: Quart) -> None:
        make_response = app.make_response
        super().init_app(app)
        # Our views return responses; without this, Quart-Schema would try to convert each.
        app.make_response = make_response  # type: ignore[method-assign]

    @cached_property
    def _document(self) -> bytes:
        schema = self.openapi_provider.schema()
        for path in schema["paths"].values():
            for operation in path.values():
                if "requestBody" in operation:
                    operation["requestBody"]["required"] = True
        return orjson.dumps(schema, option=orjson.OPT_NON_STR_KEYS)

    @hide
    async def openapi(self) -> Any:
        return Response(self._document, content_type="application/json")


def documented(
    group: str,
    name: str,
    response: type[BaseModel],
    errors: Sequence[int],
    *,
    status: int = 200,
    headers: type[BaseModel] | None = None,
) -> Callable[[ViewT], ViewT]:
    """Document a view: its tag, its operation id, its response, and the statuses of its errors."""

    def decorate(view: ViewT) -> ViewT:
        view = tag([group])(operation_id(name)(view))
        view = document_response(response, status, headers)(view)
        for error in errors:
            view = document_response(ErrorResponse, error)(view)
        return view

    return decorate


def install(app: Quart) -> None:
    """Serve the document at /api/openapi.json. The page that shows it is in `operations`."""
    CachedSchema(
        app,
        info=Info(title="Cascade", version=VERSION, description=DESCRIPTION),
        tags=TAGS,
        openapi_path="/api/openapi.json",
        openapi_provider_class=Provider,
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
    )
