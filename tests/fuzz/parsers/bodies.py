"""Bodies of requests, and messages of the WebSocket."""

from __future__ import annotations

from typing import get_args

import orjson

from service.access.grant import UNRESTRICTED, Grant
from service.access.scope import NamespaceRule, Scope
from service.errors import RequestError
from service.records.checking import check
from service.retrieval.query import Mode
from service.settings import load_settings
from service.web.bodies import parse_records
from service.web.records.schemas import DeleteRequest
from service.web.search.messages import (
    decode_message,
    error_message,
    read_mode,
    read_search,
    read_seq,
)
from service.web.search.parsing import RawSearch, RequestParser
from service.web.validation import validate
from tests.fuzz.parsers.errors import answered_errors

MAX_RECORDS = 100
MODES: tuple[Mode, ...] = get_args(Mode)
SEARCHES = RequestParser(load_settings(), reranks_by_default=True)
SCOPED = Grant(
    tenant="shop",
    scopes=(Scope((NamespaceRule("te*"),), {"b": {"$lt": 3}}, frozenset({"a", "b"})),),
)
GRANTS = (UNRESTRICTED, SCOPED)


def parse_search(content: bytes, *, is_json: bool) -> None:
    """A valid search has a text or a cursor, and a scoped one is narrowed."""
    for mode in MODES:
        for grant in GRANTS:
            with answered_errors():
                raw = RawSearch(mode, content, is_json=is_json)
                search = SEARCHES.parse(raw, grant)
                assert search.request.cursor or search.query.text.strip()
                if grant is SCOPED and not search.request.cursor:
                    assert search.query.namespace.startswith("te")
                    assert search.query.filter is not None


def json_records(data: bytes) -> None:
    _records(data, ndjson=False)


def ndjson_records(data: bytes) -> None:
    _records(data, ndjson=True)


def _records(data: bytes, *, ndjson: bool) -> None:
    """Every record is either valid, and stored as it was sent, or a failure with a sentence."""
    with answered_errors():
        records = parse_records(data, ndjson=ndjson, max_records=MAX_RECORDS)
        valid, failures = check(records, "chunk_text")
        assert sorted([*valid, *(each.index for each in failures)]) == [*range(len(records))]
        for position, encoded in valid.items():
            assert {"_id": encoded.id, **orjson.loads(encoded.json)} == {
                **{name: each for name, each in records[position].items() if name != "id"},
                "_id": encoded.id,
            }
        orjson.dumps([(each.id, each.code, each.detail) for each in failures])


def search_body(data: bytes) -> None:
    parse_search(data, is_json=True)


def delete_body(data: bytes) -> None:
    with answered_errors():
        selection = validate(DeleteRequest, data).to_selection()
        assert [selection.ids is not None, selection.filter is not None, selection.all].count(
            True
        ) == 1


def websocket_message(data: bytes) -> None:
    message = {}
    try:
        message = decode_message(data.decode(errors="replace"))
        search = SEARCHES.resolve(read_mode(message), read_search(message), SCOPED)
        assert search.query.text.strip()
        assert 0 <= read_seq(message) < 2**53
    except RequestError as error:
        orjson.loads(error_message(error, message))
