"""From a request's bytes to a `SearchRequest`, or to an error that says which parameter is wrong.

Knows nothing of searching. Query strings and bodies end in the same strict model: the query string
is first brought into the types that a JSON body would have had.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydantic_core import from_json
from quart import Request

from service.errors import EmptyQuery, InvalidField, InvalidRequest
from service.web.bodies import read_body
from service.web.search.request_schemas import SearchRequest
from service.web.validation import given_twice, invalid, query_pairs, validated

WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
LISTS = {"fields", "match_terms"}
NUMBERS = {"top_k", "depth", "timeout_ms"}
DECIMALS = {"lexical_weight"}
SWITCHES = {"typos", "highlight", "explain"}
EMPTY_QUERY = "Text query cannot be empty"


class Raw(NamedTuple):
    """A search as it came: a POST's JSON body, or else a GET's query string."""

    text: bytes
    is_json: bool


async def read_raw(request: Request) -> Raw:
    if request.method != "POST":
        return Raw(request.query_string, is_json=False)
    if request.query_string:
        raise InvalidRequest("A POST takes its parameters in its JSON body, not in the URL")
    return Raw(await read_body(request, "the search"), is_json=True)


def read_search(raw: Raw) -> SearchRequest:
    """The search that it asks for."""
    return check_text(validated(SearchRequest, raw.text if raw.is_json else _parameters(raw.text)))


def check_text(search: SearchRequest) -> SearchRequest:
    """The search, if there is something to search for."""
    if not search.cursor and not search.text_query.strip():
        raise EmptyQuery(
            EMPTY_QUERY, invalid_fields=[InvalidField(("text_query",), "must not be empty")]
        )
    return search


def _parameters(query_string: bytes) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in query_pairs(query_string):
        if name in LISTS:
            given.setdefault(name, []).extend(part.strip() for part in value.split(","))
        elif name in given:
            raise given_twice(name)
        else:
            given[name] = typed(name, value)
    return given


def typed(name: str, value: str) -> Any:
    """What `value` would be in a JSON body; the model has the say on what is none of these."""
    if name in NUMBERS and WHOLE_NUMBER.fullmatch(value):
        return int(value)
    if name in DECIMALS and DECIMAL.fullmatch(value):
        return float(value)
    if name in SWITCHES and value in {"true", "false"}:
        return value == "true"
    if name == "filter":
        try:
            return from_json(value, allow_inf_nan=False)
        except ValueError as exc:
            raise invalid(InvalidField((name,), f"is not valid JSON: {exc}")) from None
    return value
