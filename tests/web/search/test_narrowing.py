"""What a grant leaves of a query."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.access.grant import UNRESTRICTED, Grant
from service.access.scope import NamespaceRule, Scope
from service.errors import Forbidden
from service.retrieval.query import ALL_FIELDS, SearchQuery
from service.web.search.narrowing import narrow

TEXT = "chunk_text"
OWN, CHEAP = {"tenant": {"$eq": "a"}}, {"price": {"$lt": 5}}
QUERY = SearchQuery("lamp", 3, "shop", "none", filter=CHEAP, fields=("price",), highlight=True)


def grant(*fields: str, filter: dict[str, Any] | None = None) -> Grant:
    """A grant of the namespace `shop`."""
    shop = NamespaceRule("shop", filter)
    return Grant(scopes=(Scope((shop,), fields=frozenset(fields) if fields else None),))


def test_query_of_unrestricted_caller_stays_the_same() -> None:
    assert narrow(QUERY, UNRESTRICTED, TEXT) is QUERY


def test_query_of_another_namespace_is_refused() -> None:
    with pytest.raises(Forbidden, match="namespace other"):
        narrow(replace(QUERY, namespace="other"), grant(), TEXT)


def test_query_gets_the_filter_of_the_grant() -> None:
    limited = grant(filter=OWN)
    both = replace(QUERY, filter={"$and": [OWN, CHEAP]})
    assert narrow(QUERY, limited, TEXT) == both
    assert narrow(replace(QUERY, filter=None), limited, TEXT) == replace(QUERY, filter=OWN)
    assert narrow(QUERY, grant(), TEXT) == QUERY


def test_filter_on_a_hidden_field_is_refused() -> None:
    with pytest.raises(Forbidden, match="names a field"):
        narrow(QUERY, grant(TEXT), TEXT)


@pytest.mark.parametrize(
    ("allowed", "asked", "left"),
    [
        ((TEXT, "price"), None, None),  # the text alone
        (("price",), None, ()),
        ((TEXT, "price"), ALL_FIELDS, (TEXT, "price")),
        (("price", "color"), ALL_FIELDS, ("color", "price")),
        (("price", "color"), ("margin", "price"), ("price",)),
        (("price",), ("margin",), ()),
        (("price",), (), ()),
    ],
)
def test_query_keeps_allowed_fields(
    allowed: tuple[str, ...], asked: tuple[str, ...] | None, left: tuple[str, ...] | None
) -> None:
    query = replace(QUERY, fields=asked, highlight=False)
    limited = grant(*allowed, filter=OWN)
    expected = replace(query, fields=left, filter={"$and": [OWN, CHEAP]})
    assert narrow(query, limited, TEXT) == expected


def test_highlights_of_a_hidden_text_are_refused() -> None:
    with pytest.raises(Forbidden, match="the field chunk_text, so nothing of it"):
        narrow(QUERY, grant("price"), TEXT)
    assert narrow(QUERY, grant("price", TEXT), TEXT).highlight
