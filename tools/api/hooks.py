"""Hooks of schemathesis: how to validate streams, whose schemas are those of one item.

OpenAPI 3.1 has no word for that. `text/event-stream` gets the schema of an event whose data is the
documented JSON, or an error; `application/x-ndjson` gets that of an array of lines.
"""

from __future__ import annotations

import json
from typing import Any

import schemathesis

EVENT_STREAM, NDJSON, JSON = "text/event-stream", "application/x-ndjson", "application/json"
ERROR = {"$ref": "#/components/schemas/ErrorResponse"}


def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:  # noqa: ARG001
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if EVENT_STREAM in content:
                    item = content[EVENT_STREAM]["schema"]
                    content[EVENT_STREAM]["schema"] = event_schema(item)
                if NDJSON in content:
                    line = content[NDJSON]["schema"]
                    content[NDJSON]["schema"] = {"type": "array", "items": line}


def event_schema(data: dict[str, Any]) -> dict[str, Any]:
    def event(condition: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
        content = {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
        return {"required": ["data"], "properties": {"event": condition, "data": content}}

    error = {"const": "error"}
    return {
        "if": {"required": ["event"], "properties": {"event": error}},
        "then": event(error, ERROR),
        "else": event({}, data),
    }


def read_lines(context: Any, response: Any) -> Any:  # noqa: ARG001
    return [json.loads(line) for line in response.content.split(b"\n") if line]


schemathesis.hook(before_load_schema)
schemathesis.deserializer(NDJSON)(read_lines)
