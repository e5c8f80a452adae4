"""Validation against strict pydantic models, with error messages for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from service.errors import BadRequest, InvalidField, InvalidRequest, RequestError

MAX_REPORTED_FIELDS = 20
MAX_NAME_LENGTH = 100  # of a field, in an error
MESSAGES = {
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "int_parsing_size": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "dict_type": "must be a JSON object",
    "list_type": "must be a list of strings",
    "missing": "is required",
}
LENGTHS = {
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
    "too_short": ("at least", "min_length", "item"),
    "too_long": ("at most", "max_length", "item"),
}
ModelT = TypeVar("ModelT", bound=BaseModel)


class StrictModel(BaseModel):
    """A model that converts no types and allows no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def validate(model: type[ModelT], data: bytes | dict[str, Any]) -> ModelT:
    """Validate a JSON body (bytes) or parameters (a dictionary)."""
    try:
        if isinstance(data, bytes):
            return model.model_validate_json(data)
        return model.model_validate(data)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        raise _request_error(errors, model) from None


def invalid_field(name: str | int, msg: str) -> InvalidRequest:
    """The error for one field: `msg` says what is wrong with it, or what is allowed."""
    return _invalid_fields([InvalidField((name,), msg)])


def uncapitalize(text: str) -> str:
    return text[:1].lower() + text[1:]


def _invalid_fields(fields: Sequence[InvalidField]) -> InvalidRequest:
    sentences = [f"{'.'.join(map(str, field.loc))}: {field.msg}" for field in fields]
    return InvalidRequest("; ".join(sentences), invalid_fields=fields)


def _request_error(errors: Sequence[ErrorDetails], model: type[BaseModel]) -> RequestError:
    first = errors[0]
    if first["type"] == "json_invalid":
        reason = uncapitalize(first["msg"].removeprefix("Invalid JSON: "))
        return BadRequest(f"The body is not valid JSON: {reason}")
    if not first["loc"]:
        if first["type"] == "value_error":
            return InvalidRequest(first["msg"].removeprefix("Value error, "))
        return BadRequest("The body must be a JSON object")
    return _invalid_fields(
        [
            InvalidField(_location(error), _message(error, model))
            for error in errors[:MAX_REPORTED_FIELDS]
        ]
    )


def _location(error: ErrorDetails) -> tuple[str | int, ...]:
    return tuple(part if isinstance(part, int) else part[:MAX_NAME_LENGTH] for part in error["loc"])


def _message(error: ErrorDetails, model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        return f"is not a parameter; the parameters are {', '.join(model.model_fields)}"
    if error["type"] in MESSAGES:
        return MESSAGES[error["type"]]
    if error["type"] in LENGTHS:
        bound, name, unit = LENGTHS[error["type"]]
        length = error["ctx"][name]
        return f"must have {bound} {length} {unit}{'' if length == 1 else 's'}"
    return uncapitalize(error["msg"].removeprefix("Value error, ").replace("Input should", "must"))
