"""Narrows a query to what a grant allows.

Every protocol gets its queries from `RequestParser`, which narrows them here, before anything else
sees them: so the answer, its explanations, highlights and later pages are those of the narrowed
query, and no cache key is that of a wider one.
"""

from __future__ import annotations

from dataclasses import replace

from service.access.grant import Grant
from service.access.scope import all_of
from service.errors import Forbidden
from service.retrieval.query import ALL_FIELDS, SearchQuery


def narrow(query: SearchQuery, grant: Grant, text_field: str) -> SearchQuery:
    """The query on the records and fields that the caller may see; raises `Forbidden`."""
    if not grant.is_scoped:
        return query
    grant.require_namespace(query.namespace)
    grant.require_filter(query.filter)
    filters = [each for each in (grant.filter(query.namespace), query.filter) if each]
    if grant.fields is None:
        return replace(query, filter=all_of(filters))
    if query.highlight and text_field not in grant.fields:
        raise Forbidden(
            f"This key does not allow the field {text_field}, so nothing of it can be highlighted"
        )
    return replace(
        query, filter=all_of(filters), fields=_visible(query.fields, grant.fields, text_field)
    )


def _visible(
    asked: tuple[str, ...] | None, allowed: frozenset[str], text_field: str
) -> tuple[str, ...] | None:
    if asked is None:
        return None if text_field in allowed else ()
    if asked == ALL_FIELDS:
        return tuple(sorted(allowed))
    return tuple(name for name in asked if name in allowed)
