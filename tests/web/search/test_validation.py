"""Tests for invalid searches: a 4xx that names the parameter and what is allowed."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Client
from tests.upstream import Upstream

PATH = "/api/semantic-search"


async def assert_error(response: Any, status: int, code: str) -> Any:
    """Check the status, the code and the shape of an error; returns its body."""
    body = await response.get_json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body.keys() <= {"detail", "code", "request_id", "errors"}
    return body


QUERY_STRINGS = [
    ("top_k=0", "top_k", "greater than or equal to 1"),
    ("top_k=-1", "top_k", "greater than or equal to 1"),
    (f"top_k={2**63}", "top_k", "less than or equal to 10000"),
    ("top_k=" + "9" * 5000, "top_k", "must be an integer"),
    ("top_k=ten", "top_k", "must be an integer"),
    ("top_k=1.5", "top_k", "must be an integer"),
    ("top_k=1_0", "top_k", "must be an integer"),
    ("top_k=%205", "top_k", "must be an integer"),
    ("top_k=", "top_k", "must be an integer"),
    ("top_k=3&top_k=4", "top_k", "must be given only once"),
    ("topk=3", "topk", "is not a parameter; the parameters are text_query, top_k"),
    ("timeout_ms=0", "timeout_ms", "greater than or equal to 1"),
    ("timeout_ms=60000", "timeout_ms", "at most 25000"),
    ("rerank=always", "rerank", "'union', 'per-leg' or 'none'"),
    ("rerank=union&top_k=201", "top_k", "must be at most 200, unless rerank=none"),
    ("namespace=a/b", "namespace", "512 characters"),
    ("namespace=..", "namespace", "512 characters"),
    ("namespace=" + "n" * 513, "namespace", "512 characters"),
    ("fields=", "fields", "1 to 512 characters"),
    ("fields=a,,b", "fields", "1 to 512 characters"),
    ("fields=_id", "fields", "not a field"),
    ("fields=" + ",".join("abcdefghij"[i % 10] + str(i) for i in range(101)), "fields", "100"),
    ("filter=drama", "filter", "not valid JSON"),
    ("filter=[1]", "filter", "JSON object"),
    ("filter=null", None, ""),
    ("filter=" + quote('{"a": NaN}'), "filter", "not valid JSON"),
    ("filter=" + quote('{"a": {"$like": "x"}}'), "filter", "not an operator"),
    ("filter=" + quote("[" * 2000), "filter", "not valid JSON"),
]


@pytest.mark.parametrize(("query", "parameter", "hint"), QUERY_STRINGS)
async def test_invalid_query_parameter_is_422(
    client: Client, upstream: Upstream, query: str, parameter: str | None, hint: str
) -> None:
    response = await client.get(f"{PATH}?text_query=cat&{query}")
    if parameter is None:
        assert response.status_code == 200
        return
    body = await assert_error(response, 422, "invalid_request")
    assert body["errors"][0]["loc"][0] == parameter
    assert hint in body["errors"][0]["msg"]
    assert body["detail"].startswith(parameter)
    assert upstream.searches() == []


BODIES: list[tuple[Any, str, str]] = [
    ({"top_k": "10"}, "top_k", "must be an integer"),
    ({"top_k": 10.0}, "top_k", "must be an integer"),
    ({"top_k": True}, "top_k", "must be an integer"),
    ({"top_k": 2**63}, "top_k", "less than or equal to 10000"),
    ({"text_query": 7}, "text_query", "must be a string"),
    ({"text_query": None}, "text_query", "must be a string"),
    ({"text_query": "a\0b"}, "text_query", "NUL"),
    ({"text_query": "x" * 100_001}, "text_query", "100000"),
    ({"fields": "kind"}, "fields", "must be a list of strings"),
    ({"fields": []}, "fields", "at least 1"),
    ({"fields": [1]}, "fields", "must be a string"),
    ({"filter": "kind"}, "filter", "JSON object"),
    ({"filter": []}, "filter", "JSON object"),
    ({"filter": {"year": {"$gt": "1990"}}}, "filter", "takes a number"),
    ({"rerank": True}, "rerank", "'union', 'per-leg' or 'none'"),
    ({"limit": 5}, "limit", "is not a parameter"),
    ({"namespace": "a b"}, "namespace", "512 characters"),
    ({"fields": []}, "fields", "must have at least 1 item"),
    ({"match_terms": ["a"] * 33}, "match_terms", "must have at most 32 items"),
]


@pytest.mark.parametrize(("given", "parameter", "hint"), BODIES)
async def test_invalid_body_field_is_422(
    client: Client, given: Any, parameter: str, hint: str
) -> None:
    response = await client.post(PATH, json={"text_query": "cat", **given})
    body = await assert_error(response, 422, "invalid_request")
    assert body["errors"][0]["loc"][0] == parameter
    assert hint in body["errors"][0]["msg"]


@pytest.mark.parametrize("yes", ["true", "True", "TRUE", "1", "yes", "on"])
async def test_query_string_accepts_common_spellings_of_true(client: Client, yes: str) -> None:
    """`True` is what Python's requests sends, `on` a checkbox."""
    response = await client.get(f"{PATH}?text_query=cat&explain={yes}")
    assert "explain" in (await response.get_json())["results"][0]


@pytest.mark.parametrize("no", ["false", "False", "0", "No", "off"])
async def test_query_string_accepts_common_spellings_of_false(client: Client, no: str) -> None:
    response = await client.get(f"{PATH}?text_query=cat&explain={no}")
    assert "explain" not in (await response.get_json())["results"][0]


@pytest.mark.parametrize("explain", ["", "2", "maybe", "truely"])
async def test_query_string_rejects_other_booleans(client: Client, explain: str) -> None:
    response = await client.get(f"{PATH}?text_query=cat&explain={explain}")
    body = await assert_error(response, 422, "invalid_request")
    assert body["detail"] == "explain: must be true or false"


async def test_query_string_may_repeat_fields(client: Client) -> None:
    """As Python's requests sends a list."""
    answers = [
        (await (await client.get(f"{PATH}?text_query=cat&{fields}")).get_json())["results"]
        for fields in ("fields=kind&fields=length", "fields=kind,length")
    ]
    assert {"kind", "length"} <= answers[0][0].keys()
    assert answers[0] == answers[1]


RAW = [
    (b"", 400),
    (b"{", 400),
    (b'{"text_query": "cat"', 400),
    (b'{"text_query": NaN}', 422),
    (b'{"text_query": "cat", "timeout_ms": NaN}', 422),
    (b'{"text_query": "cat", "filter": {"a": NaN}}', 422),
    (b'{"text_query": "cat", "filter": {"a": 1e400}}', 422),
    (b'{"text_query": "\\ud800"}', 400),
    (b'{"text_query": "\xff"}', 400),
    (b'{"text_query": "cat", "top_k": ' + b"9" * 4000 + b"}", 422),
    (b'{"text_query": "cat", "top_k": ' + b"9" * 5000 + b"}", 400),
    (b"[" * 100_000, 400),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400),
    (b"[]", 400),
    (b'"cat"', 400),
    (b"null", 400),
]


@pytest.mark.parametrize(("raw", "status"), RAW)
async def test_malformed_body_is_400_or_422(client: Client, raw: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post(PATH, data=raw, headers=headers)
    code = "bad_request" if status == 400 else "invalid_request"
    body = await assert_error(response, status, code)
    assert len(body["detail"]) < 500
    assert body["detail"].lower().count("json") <= 1


@pytest.mark.parametrize("query", ["text_query=%ff", "text_query=a&%e4=1", "text_query=%c3%28"])
async def test_query_string_must_be_utf_8(client: Client, query: str) -> None:
    await assert_error(await client.get(f"{PATH}?{query}"), 400, "bad_request")


async def test_too_many_query_parameters_are_rejected(client: Client) -> None:
    query = "&".join(f"p{i}=1" for i in range(100))
    await assert_error(await client.get(f"{PATH}?text_query=a&{query}"), 400, "bad_request")


async def test_nul_in_query_string_is_rejected(client: Client) -> None:
    response = await client.get(f"{PATH}?text_query=a%00b")
    body = await assert_error(response, 422, "invalid_request")
    assert "NUL" in body["detail"]


async def test_error_lists_every_invalid_parameter(client: Client) -> None:
    body = await assert_error(
        await client.get(f"{PATH}?text_query=cat&top_k=0&rerank=x&nope=1"), 422, "invalid_request"
    )
    assert {error["loc"][0] for error in body["errors"]} == {"top_k", "rerank", "nope"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "application/vnd.search+json"}, 200),
    ],
)
async def test_search_media_types(client: Client, headers: dict[str, str], status: int) -> None:
    response = await client.post(PATH, data=b'{"text_query": "cat"}', headers=headers)
    if status == 200:
        assert response.status_code == 200
    else:
        await assert_error(response, 415, "unsupported_media_type")


async def test_body_over_size_limit_is_413(client: Client) -> None:
    huge = b'{"text_query": "' + b"x" * 2_000_000 + b'"}'
    headers = {"Content-Type": "application/json"}
    await assert_error(await client.post(PATH, data=huge, headers=headers), 413, "body_too_large")


async def test_error_lists_at_most_20_fields(client: Client) -> None:
    many = {f"nonsense{i}": i for i in range(20_000)}
    body = await assert_error(
        await client.post(PATH, json={"text_query": "a", **many}), 422, "invalid_request"
    )
    assert len(body["errors"]) == 20


async def test_post_rejects_query_string(client: Client) -> None:
    response = await client.post(f"{PATH}?top_k=3", json={"text_query": "cat"})
    await assert_error(response, 422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/api/semantic-search/", 404, "not_found"),
        ("GET", "/api/%ff", 404, "not_found"),
        ("DELETE", PATH, 405, "method_not_allowed"),
        ("PUT", "/healthz", 405, "method_not_allowed"),
    ],
)
async def test_unknown_path_is_404_and_wrong_method_is_405(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    response = await getattr(client, method.lower())(path)
    await assert_error(response, status, code)
    if status == 405:
        assert "GET" in response.headers["Allow"]


async def test_unusual_valid_queries_are_answered(client: Client, upstream: Upstream) -> None:
    for query in (
        "the+%22cat%22+OR+dog%3A*",
        "%F0%9F%90%88+cat",
        "caf%C3%A9",
        "%2525",
        "word+" * 900,
    ):
        response = await client.get(f"{PATH}?text_query={query}&top_k=1&filter=%7B%7D&namespace=")
        assert response.status_code == 200
    texts = [call.body["query"]["inputs"]["text"] for call in upstream.searches()]
    assert texts[:4] == ['the "cat" OR dog:*', "🐈 cat", "café", "%25"]
    assert "filter" not in upstream.searches()[0].body["query"]
