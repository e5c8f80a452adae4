"""Schemas of the models: pydantic's, and parameters and headers made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema

from service.web.openapi.operation import Model
from service.web.responses import JSON

TEXT = {"type": "string"}
REF = "#/components/schemas/{model}"

Mode = Literal["validation", "serialization"]
RECEIVED: Mode = "validation"
SENT: Mode = "serialization"


class WithoutTitles(GenerateJsonSchema):
    """Fields have no titles: they would repeat the names."""

    def field_title_should_be_set(self, _: Any) -> bool:
        return False


def query_parameters(model: Model) -> Iterator[dict[str, Any]]:
    schema = model.model_json_schema(ref_template=REF, schema_generator=WithoutTitles)
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


def response_headers(model: Model) -> dict[str, Any]:
    schema = model.model_json_schema(mode=SENT, schema_generator=WithoutTitles)
    return {
        name: {"description": described["description"], "schema": {"type": described["type"]}}
        for name, described in schema["properties"].items()
    }
