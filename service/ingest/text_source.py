"""Where the text of a record comes from: one field, several joined, or a template with fields.

One field becomes the text: it is renamed. Several fields, and those in a template, stay fields, so
that results can show them and filters can use them.
"""

from __future__ import annotations

import json
import string
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

SEPARATOR = "\n\n"  # a blank line: each field is a paragraph of its own

Part = tuple[str, str | None]  # some text, and the name of the field that follows it


def split_names(value: str, fields: Collection[str]) -> tuple[str, ...]:
    """The names in a list with commas; a field whose name has a comma is found whole."""
    if value in fields or "," not in value:
        return (value,)
    return tuple(name for part in value.split(",") if (name := part.strip()))


@lru_cache(maxsize=64)
def parse_template(template: str) -> tuple[Part, ...]:
    """The parts of a template such as `{title}. {body}`. Raises `ValueError` for any other."""
    parts: list[Part] = []
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as exc:
        raise ValueError(f"must be such as '{{title}}. {{body}}': {exc}") from None
    for literal, name, spec, conversion in parsed:
        if name is None:
            parts.append((literal, None))
            continue
        # A name may hold what Python would take for a conversion and a format.
        whole = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        if not whole:
            raise ValueError("has braces without the name of a field")
        parts.append((literal, whole))
    if not any(name for _, name in parts):
        raise ValueError("names no field; it must be such as '{title}. {body}'")
    return tuple(parts)


def template_names(template: str) -> tuple[str, ...]:
    """The fields that a template names, each once."""
    return tuple(dict.fromkeys(name for _, name in parse_template(template) if name))


def fill_template(template: str, fields: Mapping[str, Any]) -> str:
    """The text; empty if the record has none of the fields. A field that is missing is empty."""
    if not any(name in fields for name in template_names(template)):
        return ""
    return "".join(
        literal + (_as_text(fields.get(name)) if name else "")
        for literal, name in parse_template(template)
    ).strip()


def join(names: Collection[str], fields: Mapping[str, Any]) -> str:
    """The fields that the record has, with blank lines between them."""
    texts = (_as_text(fields.get(name)).strip() for name in names)
    return SEPARATOR.join(text for text in texts if text)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)
