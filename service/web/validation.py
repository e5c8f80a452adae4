"""What was given, held against a strict model; what is wrong with it, in sentences.

Knows nothing of what a model is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.errors import BadRequest, InvalidField, InvalidRequest, RequestError

MAX_PARAMETERS = 64
MAX_FAULTS = 20
SENTENCES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "dict_type": "must be a JSON object",
    "list_type": "must be a list of texts",
}
LENGTHS = {
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
    "too_short": ("at least", "min_length", "item"),
    "too_long": ("at most", "max_length", "item"),
}
ModelT = TypeVar("ModelT", bound=BaseModel)


def validated(model: type[ModelT], given: bytes | dict[str, Any]) -> ModelT:
    """The model of a JSON body or of parameters, or the error that says what is wrong."""
    try:
        if isinstance(given, bytes):
            return model.model_validate_json(given)
        return model.model_validate(given)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        raise _error(errors, model) from None


def query_pairs(query_string: bytes) -> list[tuple[str, str]]:
    """The names and values of a query string, which is UTF-8 and not endless."""
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
        raise BadRequest(f"The query string has more than {MAX_PARAMETERS} parameters") from None


def invalid(*faults: InvalidField) -> InvalidRequest:
    """One error for what is wrong with these fields."""
    sentences = [f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in faults]
    return InvalidRequest("; ".join(sentences), invalid_fields=faults)


def given_twice(name: str) -> InvalidRequest:
    return invalid(InvalidField((name[:100],), "is given more than once"))


def _error(errors: Sequence[ErrorDetails], model: type[BaseModel]) -> RequestError:
    first = errors[0]
    if first["type"] == "json_invalid":
        why = first["msg"].removeprefix("Invalid JSON: ")
        return BadRequest(f"The body is not valid JSON: {lowered(why)}")
    if not first["loc"]:
        if first["type"] == "value_error":
            return InvalidRequest(first["msg"].removeprefix("Value error, "))
        return BadRequest("The body must be a JSON object")
    faults = [InvalidField(_place(error), _message(error, model)) for error in errors[:MAX_FAULTS]]
    return invalid(*faults)


def _place(error: ErrorDetails) -> tuple[str | int, ...]:
    return tuple(part if isinstance(part, int) else part[:100] for part in error["loc"])


def _message(error: ErrorDetails, model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        return f"is not a parameter; there are {', '.join(model.model_fields)}"
    if error["type"] == "missing":
        return "must be given"
    if error["type"] in SENTENCES:
        return SENTENCES[error["type"]]
    if error["type"] in LENGTHS:
        bound, name, unit = LENGTHS[error["type"]]
        length = error["ctx"][name]
        return f"must have {bound} {length} {unit}{'' if length == 1 else 's'}"
    return lowered(error["msg"].removeprefix("Value error, ").replace("Input should", "must"))


def lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
