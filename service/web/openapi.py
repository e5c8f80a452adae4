"""The OpenAPI document: made once, in the order of the code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import orjson
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
    Tag("search", description="One search, three ways of looking; each by GET or by POST."),
    Tag("records", description="What is searched: write it, read it, list it, delete it."),
    Tag("imports", description="Many records, written in the background."),
    Tag("operations", description="For whoever runs the service."),
]


class Provider(OpenAPIProvider):
    """Headers of an answer where OpenAPI has them, and no JSON where there is none.

    A model of something else than JSON says so with a class variable: `media_type` if it is an
    answer, `media_types` if it is what is sent, in one of them.
    """

    def build_request_body(self, model: Any, source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        body, definitions = super().build_request_body(model, source)
        if media_types := getattr(model, "media_types", None):
            (given,) = body["content"].values()
            body["content"] = dict.fromkeys(media_types, given)
        return body, definitions

    def build_response_object(
        self, model: Any, headers_model: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        answer, definitions = super().build_response_object(model, headers_model)
        if headers := answer["content"].pop("headers", None):
            answer["headers"] = headers
        if media_type := getattr(model, "media_type", None):
            answer["content"] = {media_type: answer["content"]["application/json"]}
        if not model.model_fields:
            del answer["content"]
        return answer, definitions


class CachedSchema(QuartSchema):
    """Making the document takes 30 ms, and it does not change while the process lives."""

    def init_app(self, app: Quart) -> None:
        make_response = app.make_response
        super().init_app(app)
        app.make_response = make_response  # type: ignore[method-assign]  # ours need no converting

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


ViewT = TypeVar("ViewT", bound=Callable[..., Any])


def documented(
    group: str, name: str, answer: type, errors: Sequence[int], status: int = 200
) -> Callable[[ViewT], ViewT]:
    """What a view answers, and with which statuses it fails."""

    def told(view: ViewT) -> ViewT:
        view = tag([group])(operation_id(name)(view))
        view = document_response(answer, status)(view)
        for each in errors:
            view = document_response(ErrorResponse, each)(view)
        return view

    return told


def install(app: Quart) -> None:
    """Serve the document at /api/openapi.json; the page that shows it is ours."""
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
