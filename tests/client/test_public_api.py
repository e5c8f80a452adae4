"""The public API: names, equal sync and async clients, error classes, redacted secrets."""

from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import client
from service.client import (
    AsyncSearchClient,
    AsyncStream,
    AsyncTyping,
    SearchClient,
    SearchClientError,
    Stream,
    Typing,
    errors,
)
from tests.client.conftest import Make
from tests.client.fake_service import answer, scripted_server, unused_url

ROOT = Path(__file__).parent.parent.parent
KEY = "a-key-of-sixteen-letters"
TWINS = [(SearchClient, AsyncSearchClient), (Typing, AsyncTyping), (Stream, AsyncStream)]
AWAITED = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"} | {
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}


def test_public_names() -> None:
    assert sorted(client.__all__) == [
        "Answer",
        "ApiError",
        "ApiKey",
        "AsyncSearchClient",
        "AsyncStream",
        "AsyncTyping",
        "ConnectionFailed",
        "CursorExpired",
        "DeadlineExceeded",
        "ExportOptions",
        "Failure",
        "FieldFault",
        "Forbidden",
        "GarbledAnswer",
        "IdPage",
        "ImportFailed",
        "ImportOptions",
        "ImportPage",
        "IncompleteExport",
        "IndexStats",
        "Invalid",
        "InvalidArgument",
        "Job",
        "KeyOptions",
        "LineError",
        "Move",
        "NamespaceStats",
        "NotConnected",
        "NotFound",
        "Overloaded",
        "Readiness",
        "Receipt",
        "Record",
        "Result",
        "SearchClient",
        "SearchClientError",
        "SearchEvent",
        "SearchOptions",
        "SearchRules",
        "ServiceFailed",
        "Stage",
        "Stats",
        "StorageFull",
        "Stream",
        "TimedOut",
        "TooLarge",
        "Typing",
        "Unauthorized",
        "Unavailable",
        "Written",
        "sign_tenant_token",
    ]
    assert all(hasattr(client, name) for name in client.__all__)


def test_generated_sync_client_is_current() -> None:
    """`make generated` writes it from service/client/_async."""
    command = [sys.executable, "-m", "tools.generate_sync_client", "--check"]
    subprocess.run(command, cwd=ROOT, check=True)


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_sync_and_async_clients_have_the_same_signatures(one: type, other: type) -> None:
    methods, others = _methods(one), _methods(other)
    assert methods.keys() == others.keys()
    for name, method in methods.items():
        mine, theirs = inspect.signature(method), inspect.signature(others[name])
        assert list(mine.parameters) == list(theirs.parameters), name
        for parameter, other_parameter in zip(
            mine.parameters.values(), theirs.parameters.values(), strict=True
        ):
            assert parameter.kind == other_parameter.kind, name
            assert parameter.default == other_parameter.default, name
            assert _unawaited(other_parameter.annotation) == parameter.annotation, name
        assert _unawaited(theirs.return_annotation) == mine.return_annotation, name


def _methods(kind: type) -> dict[str, Any]:
    own = {AWAITED.get(name, name): value for name, value in vars(kind).items()}
    public = {name: value for name, value in own.items() if inspect.isfunction(value)}
    return {
        name: value
        for name, value in public.items()
        if not name.startswith("_") or name in AWAITED.values()
    } | {"__init__": public["__init__"]}


def _unawaited(annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return annotation
    return re.sub(r"Async(?=[A-Z])", "", annotation)


def test_error_tree_matches_docstring() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([ │├└─]*)([A-Z]\w+)", line):
            depth = (len(found[1]) + 3) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"
    kinds: list[type[SearchClientError]] = [SearchClientError, *_below(SearchClientError)]
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in kinds}
    assert {kind.__name__ for kind in kinds} <= set(client.__all__)


def _below(kind: type[SearchClientError]) -> list[type[SearchClientError]]:
    children = kind.__subclasses__()
    return children + [each for child in children for each in _below(child)]


def test_key_is_sent_and_redacted(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refusal = answer(401, {"detail": f"{KEY} is none", "code": "key_rejected"})
    field = {"loc": ["x"], "msg": f"not {KEY}"}
    invalid = answer(422, {"detail": KEY, "code": "invalid_request", "errors": [field]})
    messages = []
    with scripted_server(refusal, invalid, answer(200, {"status": "ok"})) as server:
        searcher = make(server.url, KEY)
        for _ in range(2):
            with pytest.raises(client.ApiError) as refused:
                searcher.stats()
            messages += [repr(refused.value), str(refused.value), repr(refused.value.errors)]
        searcher.healthz()
        assert [each.headers["authorization"] for each in server.requests] == [f"Bearer {KEY}"] * 3
    with pytest.raises(SearchClientError) as caught:
        make(unused_url(), KEY, retries=0).stats()
    messages += [repr(caught.value), str(caught.value), repr(searcher), caplog.text]
    assert not [text for text in messages if KEY in text]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("127.0.0.1:8000", None),
        ("ftp://127.0.0.1", None),
        ("http://", None),
        ("http://h/?a=1", None),
        ("http://me:secret@h", None),
        ("http://h:99999", None),
        ("http://h/\n", None),
        (None, None),
        ("http://h", "two words"),
        ("http://h", "schlüssel"),
        ("http://h", "line\r\nX: y"),
    ],
)
def test_invalid_url_or_key_is_rejected_at_once(make: Make, url: Any, key: str | None) -> None:
    with pytest.raises(client.InvalidArgument) as caught:
        make(url, key)
    assert isinstance(caught.value, ValueError)
    assert "secret" not in str(caught.value)
    assert "schl" not in str(caught.value)


def test_base_url_may_have_a_path(make: Make) -> None:
    with scripted_server(answer(200, {"status": "ok"})) as server:
        make(f"{server.url}/cascade/").healthz()
        assert server.requests[0].target == "/cascade/healthz"


def test_transport_can_be_replaced() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"_id": request.url.path})

    with SearchClient("http://nowhere", transport=httpx.MockTransport(handle)) as searcher:
        assert searcher.get("a") == {"_id": "/api/records/a"}
