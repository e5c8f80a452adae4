"""Error responses and invalid responses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client import (
    ApiError,
    CursorExpired,
    DeadlineExceeded,
    Forbidden,
    GarbledAnswer,
    Invalid,
    NotFound,
    Overloaded,
    ServiceFailed,
    StorageFull,
    TooLarge,
    Unauthorized,
    Unavailable,
    responses,
)
from service.client.models import Job, SearchContext, Stats
from tests.client.conftest import Make
from tests.client.fake_service import Reply, answer, scripted_server

RECEIPT = {"ms": 1, "missing": [], "stages": []}
WHOLE = {"results": [], "degraded": False, "cursor": None, "receipt": RECEIPT}
JOB = {"id": "a1", "status": "running", "written": 3, "failed": 0, "errors": []}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad_request", Invalid),
        (401, "key_rejected", Unauthorized),
        (403, "writes_closed", Forbidden),
        (404, "not_found", NotFound),
        (405, "method_not_allowed", ApiError),
        (409, "conflict", ApiError),
        (410, "cursor_expired", CursorExpired),
        (413, "body_too_large", TooLarge),
        (415, "unsupported_media_type", Invalid),
        (422, "invalid_request", Invalid),
        (429, "rate_limited", Overloaded),
        (500, "internal_error", ServiceFailed),
        (502, "upstream_error", Unavailable),
        (503, "unavailable", Unavailable),
        (503, "overloaded", Overloaded),
        (504, "deadline_exceeded", DeadlineExceeded),
        (507, "storage_full", StorageFull),
        (508, "?", ServiceFailed),
    ],
)
def test_error_status_maps_to_exception(
    make: Make, status: int, code: str, kind: type[ApiError]
) -> None:
    body = {"detail": "Not so.", "code": code, "request_id": "r1", "more": 1}
    with scripted_server(answer(status, body)) as server:
        with pytest.raises(ApiError) as caught:
            make(server.url, retries=0).stats()
    error = caught.value
    assert type(error) is kind
    assert (str(error), error.status, error.code) == ("Not so.", status, code)
    assert error.request_id == "r1"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"detail": 7}', b"\xff", b""])
def test_proxy_error_maps_to_exception_by_status(make: Make, body: bytes) -> None:
    with scripted_server(answer(503, body)) as server:
        with pytest.raises(Unavailable, match="answers with status 503") as caught:
            make(server.url, retries=0).stats()
    assert caught.value.code == ""


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b'"x"', b"{}", b'{"ids": [7]}', b""])
def test_invalid_response_raises_garbled(make: Make, body: bytes) -> None:
    with scripted_server(*[answer(200, body)] * 6) as server:
        searcher = make(server.url)
        calls: tuple[Callable[[], Any], ...] = (
            lambda: searcher.semantic("x"),
            lambda: searcher.upsert([]),
            lambda: searcher.get("x"),
            searcher.list_ids,
            searcher.stats,
            searcher.healthz,
        )
        for call in calls:
            with pytest.raises(GarbledAnswer):
                call()


def test_redirect_is_not_followed(make: Make) -> None:
    with scripted_server(answer(301, b"", location="http://elsewhere/")) as server:
        with pytest.raises(ApiError, match="status 301"):
            make(server.url).stats()


def test_undecodable_response_raises_garbled(make: Make) -> None:
    with scripted_server(answer(200, b"no gzip", content_encoding="gzip")) as server:
        with pytest.raises(GarbledAnswer):
            make(server.url).stats()


def test_unknown_response_keys_are_ignored() -> None:
    answered = responses.answer(
        WHOLE | {"results": [{"_id": "a", "score": 1, "new": {"x": 1}}], "hint": "?"},
        SearchContext("semantic"),
    )
    assert answered.results[0]["new"] == {"x": 1}
    assert answered.raw["hint"] == "?"
    assert responses.job(JOB | {"status": "paused", "mood": "good"}).status == "paused"


def test_result_fields_are_separate_from_service_keys() -> None:
    result = {"_id": "a", "score": 1.5, "found_by": "me", "explain": "it", "highlights": 7}
    own = responses.answer(WHOLE | {"results": [result]}, SearchContext("lexical")).results[0]
    assert dict(own.fields) == {"found_by": "me", "explain": "it", "highlights": 7}
    added = {
        "_id": "a",
        "score": 1.5,
        "found_by": ["lexical"],
        "explain": {},
        "highlights": [[0, 3]],
    }
    theirs = responses.answer(
        WHOLE | {"results": [added]}, SearchContext("cascading", explain=True, highlight=True)
    ).results[0]
    assert (theirs.found_by, theirs.explain, theirs.highlights) == (("lexical",), {}, ((0, 3),))
    assert theirs.fields == {}


def test_minimal_job_is_parsed() -> None:
    job = responses.job(JOB | {"errors": [{"line": None, "detail": "x"}]})
    assert isinstance(job, Job)
    assert job.errors[0].detail == "x"
    full = responses.job(JOB | {"created_at": "2026-01-02T03:04:05Z", "eta_s": 3, "progress": 0.5})
    assert full.created_at is not None
    assert full.created_at.tzinfo is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["results", "_id", "score", "receipt", "moved", "failed", "id", "errors"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_response_is_parsed_or_garbled(body: Any) -> None:
    context = SearchContext("cascading", explain=True, highlight=True)
    for read in (
        lambda: responses.answer(body, context),
        lambda: responses.search_event("done", body, context),
        lambda: responses.search_event("leg", body, context),
        lambda: responses.written(body),
        lambda: responses.deleted(body),
        lambda: responses.record(body),
        lambda: responses.job(body),
        lambda: responses.stats(body),
    ):
        with contextlib.suppress(GarbledAnswer):
            read()


def test_truncated_response_raises(make: Make) -> None:
    whole = answer(200, {"backend": "embedded", "indexes": {}})
    with scripted_server(Reply(whole.data[:-5], "close"), whole) as server:
        assert make(server.url).stats() == Stats("embedded", {})
        assert len(server.requests) == 2
