"""Generated requests to the searches: never a 5xx, always the error shape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.settings import load_settings
from tests.upstream import API_KEY, Upstream

PATHS = ["/api/semantic-search", "/api/lexical-search", "/api/cascading-retrieval"]
NAMES = ["text_query", "top_k", "namespace", "filter", "fields", "rerank", "timeout_ms", "explain"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(["$eq", "$in", "$and", "\0", "..", "NaN", "-1", "union"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "$and", "$or", "$eq", "$in", "$gt", "$nope"])
            | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), values, max_size=6).map(
    lambda body: (
        orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
        if _encodable(body)
        else repr(body).encode("utf-8", "replace")
    )
)
raw_bodies = bodies | st.binary(max_size=200) | st.text(max_size=50).map(lambda t: t.encode())
queries = st.lists(
    st.tuples(st.sampled_from(NAMES) | st.text("ab%&=+", max_size=4), st.binary(max_size=20)),
    max_size=5,
).map(lambda pairs: b"&".join(_text(name) + b"=" + _quoted(value) for name, value in pairs))
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=40)
headers = st.dictionaries(
    st.sampled_from(
        [
            "Content-Type", "Content-Encoding", "Accept", "Host", "X-Request-Id", "Origin",
            "Range", "Expect", "X-Forwarded-For", "X-Forwarded-Proto", "Authorization", "Cookie",
            "Upgrade",
        ]
    ),
    header_values | st.sampled_from(["application/json", "h2c", "a b", "[", "*", "gzip"]),
    max_size=4,
)  # fmt: skip


def _encodable(body: Any) -> bool:
    try:
        orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):
        return False
    return True


def _text(name: str) -> bytes:
    return name.encode()


def _quoted(value: bytes) -> bytes:
    return b"".join(b"%%%02x" % byte for byte in value)


class RunningService:
    """An open app in its own event loop, which all examples share."""

    def __init__(self, upstream: Upstream) -> None:
        self.runner = asyncio.Runner()
        settings = load_settings(
            pinecone_api_key=API_KEY,
            pinecone_dense_index_host=upstream.host("dense"),
            pinecone_sparse_index_host=upstream.host("sparse"),
            pinecone_controller_host=upstream.host("control"),
            pinecone_lanes=1,
        )
        self.app: Any = create_app(settings)
        self.runner.run(self.app.startup())

    def ask(self, request: httpx.Request) -> httpx.Response:
        return self.runner.run(self._ask(request))

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        response = await httpx.ASGITransport(self.app).handle_async_request(request)
        await response.aread()
        return response

    def close(self) -> None:
        self.runner.run(self.app.shutdown())
        self.runner.close()


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with Upstream() as upstream:
        running = RunningService(upstream)
        yield running
        running.close()


def assert_valid_response(response: httpx.Response) -> None:
    """Check for a success, or a 4xx with the error shape."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        body = response.json()
        assert body.keys() <= {"detail", "code", "request_id", "errors"}
        assert body["detail"]
        assert body["code"]
        assert body["request_id"] == response.headers["X-Request-Id"]
        assert "Traceback" not in response.text
    assert response.headers["X-Process-Time"]
    assert response.headers["Server-Timing"]


many_examples = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


@many_examples
@given(path=st.sampled_from(PATHS), body=raw_bodies, headers=headers)
def test_search_survives_generated_bodies(
    service: RunningService, path: str, body: bytes, headers: dict[str, str]
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    encoded = [(name.encode(), value.encode("latin1")) for name, value in headers.items()]
    assert_valid_response(
        service.ask(httpx.Request("POST", f"http://h{path}", content=body, headers=encoded))
    )


@many_examples
@given(path=st.sampled_from(PATHS), query=queries, headers=headers)
def test_search_survives_generated_parameters_and_headers(
    service: RunningService, path: str, query: bytes, headers: dict[str, str]
) -> None:
    encoded = [(name.encode(), value.encode("latin1")) for name, value in headers.items()]
    url = httpx.URL(f"http://h{path}").copy_with(query=query)
    assert_valid_response(service.ask(httpx.Request("GET", url, headers=encoded)))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"]),
    path=st.text(st.characters(codec="utf-8", exclude_characters="#?"), max_size=30),
)
def test_generated_paths_and_methods_are_4xx(
    service: RunningService, method: str, path: str
) -> None:
    url = httpx.URL("http://h").copy_with(raw_path=b"/" + _quoted(path.encode()))
    response = service.ask(httpx.Request(method, url))
    if method == "HEAD":
        assert response.status_code < 500
    else:
        assert_valid_response(response)
