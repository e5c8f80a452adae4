"""Hostile requests: the data plane answers or rejects each of them and stays usable."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.embedded.client import EmbeddedAsyncIndex
from service.embedded.errors import EngineError
from service.embedded.pinecone_api.bodies import error_body
from service.embedded.pinecone_api.routes import answer
from service.embedded.schema import DenseField, Schema, SparseField, TextField
from tests.embedded.pinecone_api.calls import opened

SCHEMA = Schema(
    {
        "chunk_text": TextField(embed=True, full_text=True),
        "v": DenseField(2, "dotproduct"),
        "s": SparseField(),
    }
)
IN_NAMESPACE = [
    "/records/namespaces/n/upsert",
    "/records/namespaces/n/search",
    *(f"/namespaces/n/documents/{verb}" for verb in ("upsert", "search", "fetch")),
    *(f"/namespaces/n/documents/{verb}" for verb in ("delete", "update", "list")),
]
POSTS = [
    *IN_NAMESPACE,
    "/query",
    "/vectors/upsert",
    "/vectors/update",
    "/vectors/delete",
    "/vectors/fetch_by_metadata",
    "/describe_index_stats",
    "/namespaces",
]
GETS = ["/vectors/fetch", "/vectors/list", "/namespaces", "/namespaces/n"]

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "a", "chunk_text", "v", "s", "$eq", "$and", "$match_all", "_id", "\0", "\ud800", "*", '"(']
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**53 + 1, 2**63, 2**64, 10**400])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)
FILTERS = st.recursive(
    st.dictionaries(TEXTS, SCALARS, max_size=2),
    lambda inner: (
        st.dictionaries(st.sampled_from(["$and", "$or"]), st.lists(inner, max_size=2), max_size=1)
        | st.dictionaries(
            st.sampled_from(["a", "chunk_text", "v"]),
            st.dictionaries(
                st.sampled_from(
                    ["$eq", "$in", "$gt", "$exists", "$match_all", "$match_phrase", "$match_any"]
                ),
                ANY,
                max_size=2,
            ),
            max_size=2,
        )
    ),
    max_leaves=6,
)
CLAUSES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text", "query_string", "dense_vector", "sparse_vector", "embed", "sparse_embed"]
        )
    },
    optional={
        "query": TEXTS | st.sampled_from(["chunk_text:(a OR b)^2", "a~1", '"a b"~2', "a*"]) | ANY,
        "field": st.sampled_from(["chunk_text", "v", "s"]) | ANY,
        "fields": st.lists(st.sampled_from(["chunk_text", "v"]), max_size=2) | ANY,
        "values": st.lists(NUMBERS, max_size=3) | ANY,
        "sparse_values": ANY,
        "typos": ANY,
    },
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "_id": TEXTS | ANY,
        "chunk_text": TEXTS | ANY,
        "v": st.just([1, 2]) | ANY,
        "s": ANY,
        "_remove_fields": ANY,
        "$x": ANY,
        "a": ANY,
    },
)
NEAR: dict[str, st.SearchStrategy[Any]] = {
    "score_by": st.lists(CLAUSES, max_size=2) | ANY,
    "query": st.fixed_dictionaries(
        {"top_k": st.just(5) | ANY},
        optional={"inputs": st.just({"text": "a"}) | ANY, "filter": FILTERS, "match_terms": ANY},
    )
    | ANY,
    "top_k": st.sampled_from([1, 10_000, 10_001, 0]) | ANY,
    "topK": st.sampled_from([1, 10_000, 10_001, 0]) | ANY,
    "filter": FILTERS | ANY,
    "ids": st.lists(TEXTS, max_size=3) | ANY,
    "id": TEXTS | ANY,
    "documents": st.lists(RECORDS, max_size=3) | ANY,
    "vectors": st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "id": TEXTS | ANY,
                "values": st.just([1, 2]) | ANY,
                "sparseValues": ANY,
                "metadata": st.dictionaries(TEXTS, ANY, max_size=3),
            },
        ),
        max_size=2,
    )
    | ANY,
    "vector": st.just([1, 2]) | ANY,
    "sparseVector": st.just({"indices": [1], "values": [1]}) | ANY,
    "setMetadata": st.dictionaries(TEXTS, ANY, max_size=3),
    "set_fields": st.dictionaries(TEXTS, ANY, max_size=3),
    "remove_fields": ANY,
    "include_fields": ANY,
    "includeValues": ANY,
    "rerank": ANY,
    "fields": ANY,
    "namespace": TEXTS | ANY,
    "name": TEXTS | ANY,
    "limit": ANY,
    "prefix": TEXTS | ANY,
    "paginationToken": st.sampled_from(["", "MQ==", "AA==", "4oKs", "OTk5OTk5OTk5OTk5"]) | ANY,
    "pagination_token": st.sampled_from(["", "MQ==", "AA==", "4oKs"]) | ANY,
    "deleteAll": ANY,
    "delete_all": ANY,
    "dryRun": ANY,
}
EXAMPLES = 150
HOSTILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[EmbeddedAsyncIndex]:
    async with opened(tmp_path, SCHEMA) as index:
        await index.documents.upsert(
            namespace="n",
            documents=[
                {
                    "_id": "a",
                    "chunk_text": "a b",
                    "v": [1, 2],
                    "s": {"indices": [1], "values": [1.0]},
                    "a": 1,
                }
            ],
        )
        await index.embedded.wait_until_visible()
        yield index


async def ask(
    index: EmbeddedAsyncIndex, method: str, path: str, parameters: Any, body: bytes
) -> dict[str, Any] | None:
    """Returns the response, which must be JSON; None for a rejection, which must have a reason."""
    try:
        answered = await answer(index.embedded, method, path, parameters, body)
    except EngineError as exc:
        refusal = exc
    else:
        orjson.dumps(answered)
        return answered
    assert refusal.status in {400, 404, 409, 501}, refusal
    assert len(refusal.message) > 10
    orjson.dumps(error_body(refusal))
    return None


@HOSTILE
@given(
    path=st.sampled_from(POSTS),
    body=st.fixed_dictionaries({}, optional=NEAR)
    | st.dictionaries(TEXTS, ANY, max_size=4)
    | ANY
    | st.lists(RECORDS, max_size=3),
)
async def test_any_json_is_answered_or_rejected(
    index: EmbeddedAsyncIndex, path: str, body: Any
) -> None:
    await ask(index, "POST", path, {}, json.dumps(body).encode())


@HOSTILE
@given(
    path=st.sampled_from(POSTS), keys=st.lists(st.sampled_from([*NEAR]), max_size=4), data=st.data()
)
async def test_nearly_valid_bodies_are_answered_or_rejected(
    index: EmbeddedAsyncIndex, path: str, keys: list[str], data: st.DataObject
) -> None:
    needed = {
        "/query": ["topK", "vector"],
        "/vectors/upsert": ["vectors"],
        "/vectors/update": ["id", "setMetadata"],
        "/vectors/fetch_by_metadata": ["filter"],
        "/namespaces": ["name"],
        "/records/namespaces/n/search": ["query"],
        "/namespaces/n/documents/search": ["score_by", "top_k"],
        "/namespaces/n/documents/upsert": ["documents"],
        "/namespaces/n/documents/update": ["documents"],
    }.get(path, [])
    body = {key: data.draw(NEAR[key], label=key) for key in dict.fromkeys([*needed, *keys])}
    await ask(index, "POST", path, {}, json.dumps(body).encode())


@HOSTILE
@given(records=st.lists(RECORDS | ANY, max_size=3), noise=st.binary(max_size=5))
async def test_any_ndjson_is_written_or_rejected(
    index: EmbeddedAsyncIndex, records: list[Any], noise: bytes
) -> None:
    lines = [json.dumps(record).encode() for record in records]
    await ask(index, "POST", IN_NAMESPACE[0], {}, b"\n".join(lines))
    await ask(index, "POST", IN_NAMESPACE[0], {}, b"\n".join([*lines, noise]))


@HOSTILE
@given(
    path=st.sampled_from(GETS) | st.text(max_size=20),
    parameters=st.dictionaries(
        st.sampled_from(["ids", "limit", "prefix", "namespace", "paginationToken"]) | TEXTS,
        TEXTS | st.lists(TEXTS, max_size=3) | ANY,
        max_size=4,
    ),
    method=st.sampled_from(["GET", "POST", "DELETE", "PATCH", ""]),
)
async def test_any_path_and_parameters_are_answered_or_rejected(
    index: EmbeddedAsyncIndex, path: str, parameters: dict[str, Any], method: str
) -> None:
    await ask(index, method, path, parameters, b"")
    await ask(index, "GET", "/vectors/list", parameters, b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"filter": ' * 50_000,
        b'{"a": "\\ud800"}',
        b'{"a": NaN}',
    ],
)
async def test_invalid_body_is_rejected_by_every_route(
    index: EmbeddedAsyncIndex, body: bytes
) -> None:
    for path in POSTS:
        if path == "/describe_index_stats" and not body:
            continue
        assert await ask(index, "POST", path, {}, body) is None
    assert await ask(index, "POST", "/describe_index_stats", {}, b"") is not None
    assert await ask(index, "POST", "/namespaces", {}, b'{"name": "\xff"}') is None


@pytest.mark.parametrize(
    "text",
    [
        "word " * 50_000,
        "x" * 1_000_000,
        "(" * 20_000,
        "a OR " * 20_000,
        "(a AND " * 5_000 + "b" + ")" * 5_000,
        '"' + "a b " * 20_000 + '"~9',
        "\u0301" * 50_000,
        "\0" * 1_000,
        "漢" * 50_000,
    ],
    ids=lambda text: repr(text[:12]),
)
async def test_giant_request_is_answered_or_rejected(index: EmbeddedAsyncIndex, text: str) -> None:
    path = "/namespaces/n/documents/search"
    for clause in (
        {"type": "text", "query": text, "fields": ["chunk_text"]},
        {"type": "text", "query": text, "fields": ["chunk_text"], "typos": True},
        {"type": "query_string", "query": text},
        {"type": "embed", "query": text, "field": "chunk_text"},
    ):
        body = {"score_by": [clause], "top_k": 10_000}
        await ask(index, "POST", path, {}, json.dumps(body).encode())
    for operator in ("$match_all", "$match_any", "$match_phrase"):
        body = {"filter": {"chunk_text": {operator: text}}}
        await ask(index, "POST", "/namespaces/n/documents/fetch", {}, json.dumps(body).encode())


async def test_limits_equal_those_of_pinecone(index: EmbeddedAsyncIndex) -> None:
    text = {"type": "text", "query": "a", "fields": ["chunk_text"]}
    good = {"_id": "x", "chunk_text": "x", "v": [1, 2]}

    def document(**more: Any) -> dict[str, Any]:
        return {"documents": [{**good, **more}]}

    for path, body in (
        ("/namespaces/n/documents/search", {"score_by": [text], "top_k": 10_001}),
        ("/namespaces/n/documents/search", {"score_by": [text], "top_k": 0}),
        ("/namespaces/n/documents/search", {"score_by": [text] * 101, "top_k": 1}),
        ("/namespaces/n/documents/search", {"score_by": [{**text, "boost": 2}], "top_k": 1}),
        ("/namespaces/n/documents/fetch", {"ids": ["x"] * 1_001}),
        ("/namespaces/n/documents/fetch", {"filter": {}}),
        ("/namespaces/n/documents/delete", {"ids": ["x"] * 1_001}),
        ("/namespaces/n/documents/delete", {"ids": []}),
        ("/namespaces/n/documents/delete", {"filter": {}}),
        ("/namespaces/n/documents/list", {"limit": 101}),
        ("/namespaces/n/documents/upsert", {"documents": [good, good]}),
        ("/namespaces/n/documents/upsert", {"documents": [good] * 1_001}),
        ("/namespaces/n/documents/upsert", document(_id="x" * 513)),
        ("/namespaces/n/documents/upsert", document(_id="a\0")),
        ("/namespaces/n/documents/upsert", document(big="x" * 41_000)),
        ("/namespaces/n/documents/upsert", document(big=2**64)),
        ("/namespaces/n/documents/upsert", document(v=["1", "2"])),
        ("/namespaces/n/documents/upsert", document(v=[True, False])),
        ("/namespaces/n/documents/upsert", document(s={"indices": [2**32], "values": [1]})),
        ("/namespaces/n/documents/update", {"documents": [{"_id": "x"}, {"_id": "x"}]}),
        (
            "/namespaces/n/documents/update",
            {"documents": [{"_id": "x", "_remove_fields": ["_id"]}]},
        ),
        ("/namespaces/n/documents/update", {"filter": {"a": 1}, "set_fields": {"_id": "y"}}),
        ("/namespaces/n/documents/update", {"filter": {"a": 1}}),
        (f"/namespaces/{'x' * 513}/documents/list", {}),
        ("/namespaces/%00/documents/list", {}),
        ("/vectors/delete", {"deleteAll": True, "ids": ["x"]}),
        ("/vectors/update", {"id": "x", "filter": {"a": 1}}),
        ("/namespaces", {"name": "x" * 513}),
        ("/namespaces", {"name": "__default__"}),
    ):
        assert await ask(index, "POST", path, {}, json.dumps(body).encode()) is None, (path, body)
    listed = await ask(index, "POST", "/namespaces/n/documents/list", {}, b"{}")
    assert listed is not None
    assert listed["documents"] == [{"_id": "a"}]
    assert await ask(index, "GET", "/vectors/list", {"limit": "1", "namespace": "n"}, b"")


async def test_internal_error_is_not_a_client_error(index: EmbeddedAsyncIndex) -> None:
    with pytest.raises(TypeError):
        await answer(index.embedded, "POST", "/query", {}, None)  # type: ignore[arg-type]
