"""Query parameters: parsed, converted to the types of a model, and validated.

A query string has only strings. Each is converted to the JSON type of its field in the model, so
that a GET and a POST end in the same strict validation. A value that can't be converted is left as
it is, and the model rejects it in the same words as in a body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import from_json

from service.errors import BadRequest
from service.indexes.filters import check_filter
from service.indexes.limits import MAX_ID_LENGTH
from service.settings import check_namespace
from service.web.validation import MAX_NAME_LENGTH, StrictModel, invalid_field, validate

MAX_PARAMETERS = 64
NAMESPACE = "The namespace of the records. Defaults to `PINECONE_NAMESPACE`."
# Python's str(True), the value of a checkbox, and what else people write.
BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
INTEGER = re.compile(r"-?[0-9]{1,20}")
DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")

ModelT = TypeVar("ModelT", bound=BaseModel)


def check_namespace_parameter(value: str) -> str:
    return check_namespace(value) if value else value


def _check_filter(value: dict[str, Any]) -> dict[str, Any]:
    check_filter(value)
    return value


Namespace = Annotated[str, AfterValidator(check_namespace_parameter)]
Filter = Annotated[dict[str, Any], AfterValidator(_check_filter)]


class NamespaceParameters(StrictModel):
    namespace: Namespace | None = Field(None, max_length=MAX_ID_LENGTH, description=NAMESPACE)


def read_parameters(model: type[ModelT], query_string: bytes) -> ModelT:
    """Parse and validate the parameters in a URL."""
    return validate(model, convert_parameters(model, query_string))


def convert_parameters(model: type[BaseModel], query_string: bytes) -> dict[str, Any]:
    """Convert each parameter to the JSON type of its field."""
    types = _json_types(model)
    values: dict[str, Any] = {}
    for name, text in _parse(query_string):
        kind = types.get(name)
        if kind is list:
            values.setdefault(name, []).extend(part.strip() for part in text.split(","))
        elif name in values:
            raise invalid_field(name[:MAX_NAME_LENGTH], "must be given only once")
        else:
            values[name] = CONVERTERS[kind](name, text) if kind in CONVERTERS else text
    return values


def _parse(query_string: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query_string.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except UnicodeDecodeError:
        raise BadRequest("The query string is not valid UTF-8") from None
    except ValueError:
        raise BadRequest(
            f"The query string has too many parameters; send at most {MAX_PARAMETERS}"
        ) from None


@cache
def _json_types(model: type[BaseModel]) -> dict[str, Any]:
    return {name: _json_type(field.annotation) for name, field in model.model_fields.items()}


def _json_type(annotation: Any) -> Any:
    """The type in an annotation such as `Annotated[int, …] | None`."""
    return next((each for each in _flatten(annotation) if each is not type(None)), None)


def _flatten(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        for each in get_args(annotation):
            yield from _flatten(each)
    elif origin is Annotated:
        yield from _flatten(get_args(annotation)[0])
    else:
        yield origin or annotation


def _to_int(_: str, text: str) -> Any:
    return int(text) if INTEGER.fullmatch(text) else text


def _to_float(_: str, text: str) -> Any:
    return float(text) if DECIMAL.fullmatch(text) else text


def _to_bool(_: str, text: str) -> Any:
    return BOOLEANS.get(text.lower(), text)


def _to_object(name: str, text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as exc:
        raise invalid_field(name, f"is not valid JSON: {exc}") from None


CONVERTERS: dict[Any, Callable[[str, str], Any]] = {
    int: _to_int,
    float: _to_float,
    bool: _to_bool,
    dict: _to_object,
}
