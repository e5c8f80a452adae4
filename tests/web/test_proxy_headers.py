"""Tests for forwarded headers of trusted proxies."""

from __future__ import annotations

from typing import Any

import pytest

from service.web.proxy_headers import trust_proxies


async def scope_behind_proxies(
    hops: int, headers: list[tuple[bytes, bytes]], kind: str = "http"
) -> Any:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)

    scope = {"type": kind, "client": ("10.0.0.9", 1), "scheme": "http", "headers": headers}
    middleware: Any = trust_proxies(app, hops)
    await middleware(scope, None, None)
    assert scope["client"] == ("10.0.0.9", 1), "the server's own scope is left as it is"
    return seen


FORGED = [(b"x-forwarded-for", b"6.6.6.6, 1.2.3.4"), (b"x-forwarded-proto", b"https")]


@pytest.mark.parametrize(
    ("hops", "client"), [(0, "10.0.0.9"), (1, "1.2.3.4"), (2, "6.6.6.6"), (3, "10.0.0.9")]
)
async def test_client_is_taken_from_outermost_trusted_proxy(hops: int, client: str) -> None:
    assert (await scope_behind_proxies(hops, FORGED))["client"][0] == client


async def test_repeated_forwarded_headers_are_joined() -> None:
    lines = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"1.2.3.4")]
    assert (await scope_behind_proxies(1, lines))["client"][0] == "1.2.3.4"


@pytest.mark.parametrize(("kind", "scheme"), [("http", "https"), ("websocket", "wss")])
async def test_scheme_is_taken_from_proxy(kind: str, scheme: str) -> None:
    assert (await scope_behind_proxies(1, FORGED, kind))["scheme"] == scheme
    assert (await scope_behind_proxies(0, FORGED, kind))["scheme"] == "http"
