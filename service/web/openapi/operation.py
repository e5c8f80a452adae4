"""What a view says of itself, for the OpenAPI document.

`documented` stores an `Operation` on a view; `document.py` builds the document from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from service.web.responses import JSON

OK = 200
BODY_ERRORS = (408, 413, 415)  # of every operation with a body
LIMITED = 429
ANY_ERRORS = (400, 431, 500)  # of every operation: the server itself sends them
PROTECTED_ERRORS = (401, 403, LIMITED)  # of every operation that is not public

Model = type[BaseModel]
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


def media_types(model: Model) -> Mapping[str, Any]:
    """The schema by media type; None stands for the model's own. JSON by default."""
    return getattr(model, "media_types", {JSON: None})
