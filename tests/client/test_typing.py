"""Search-as-you-type over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from service.client import (
    AsyncSearchClient,
    ConnectionFailed,
    GarbledAnswer,
    Invalid,
    InvalidArgument,
    NotConnected,
    Overloaded,
    TimedOut,
    Unauthorized,
)
from tests.client.conftest import Make
from tests.client.fake_service import Reply, answer, scripted_server, unused_url

DONE = {"results": [], "moved": [], "degraded": False, "cursor": None} | {
    "receipt": {"ms": 1, "missing": [], "stages": []}
}
Speak = Callable[[ServerConnection], None]


@contextlib.contextmanager
def websocket_server(handler: Speak) -> Iterator[str]:
    """A scripted WebSocket server of another library."""
    server: Server = serve(handler, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join(10)


def ignore_messages(socket: ServerConnection) -> None:
    """Receives messages and sends none."""
    for _ in socket:
        pass


def results(seq: int, stage: str, *ids: str) -> str:
    found = [{"_id": id, "score": 1} for id in ids]
    return json.dumps(DONE | {"type": "results", "seq": seq, "stage": stage, "results": found})


def test_typing_yields_stages_of_each_search(client: Any) -> None:
    with client.typing() as typing:
        for text, mode in (("butter", "cascading"), ("butter", "lexical"), ("butt", "semantic")):
            typing.search(text, mode=mode, top_k=3)
            events = list(typing)
            assert [each.stage for each in events][-1] == "done"
            assert events[0].stage == "leg"
            whole = client.search(text, mode=mode, top_k=3)
            assert events[-1].answer.results == whole.results
        assert list(typing) == []


def test_typing_yields_only_newest_search(client: Any) -> None:
    with client.typing() as typing:
        for text in ("b", "bu", "but", "butt", "butter"):
            typing.search(text, mode="lexical", top_k=3, fields=["category"])
        *_, done = typing
        whole = client.lexical("butter", top_k=3, fields=["category"])
        assert done.answer.results == whole.results
        typing.search("bread")
        typing.cancel()
        assert list(typing) == []
        typing.search("butter", mode="lexical", top_k=1)
        assert [len(each.results) for each in typing][-1] == 1


def test_typing_continues_after_invalid_search(client: Any) -> None:
    with client.typing() as typing:
        typing.search("butter", top_k=0)
        with pytest.raises(Invalid) as caught:
            list(typing)
        assert caught.value.errors[0].loc == ("top_k",)
        typing.search("butter")
        assert list(typing)[-1].stage == "done"


def test_typing_survives_search_that_can_not_be_sent(client: Any) -> None:
    with client.typing() as typing:
        typing.search("butter", mode="lexical")
        with pytest.raises(InvalidArgument):
            typing.search("bread", filter={"year": float("nan")})
        with pytest.raises(TypeError):
            typing.search("bread", topk=1)
        assert list(typing)[-1].stage == "done"


def test_typing_drops_messages_of_older_search(make: Make) -> None:
    messages = []

    def handler(socket: ServerConnection) -> None:
        messages.append(json.loads(socket.recv()))
        messages.append(json.loads(socket.recv()))
        socket.send(results(1, "leg", "old"))
        socket.send(json.dumps({"type": "error", "seq": 1, "detail": "old", "code": "x"}))
        socket.send(json.dumps({"type": "mood"}))
        socket.send(results(2, "leg", "new"))
        socket.send(results(1, "done", "old"))
        socket.send(results(2, "done", "new"))
        socket.recv()

    with websocket_server(handler) as url, make(url).typing() as typing:
        typing.search("t", top_k=1)
        typing.search("te", mode="lexical", explain=True)
        assert [each.results[0].id for each in typing] == ["new", "new"]
        typing.search("over")
    assert messages[0] == {"type": "search", "seq": 1, "mode": "cascading", "text_query": "t"} | {
        "top_k": 1
    }
    assert messages[1]["seq"] == 2


def test_typing_rejected_connection_raises_reason(make: Make) -> None:
    refusal = answer(401, {"detail": "A key is needed", "code": "key_missing"})
    with scripted_server(refusal) as server:
        with pytest.raises(Unauthorized, match="A key is needed"):
            with make(server.url).typing():
                pass
        assert server.requests[0].headers["upgrade"] == "websocket"


def test_typing_without_service_raises_not_connected(make: Make) -> None:
    with pytest.raises(NotConnected):
        with make(unused_url(), retries=0).typing():
            pass


def test_typing_closed_by_service_raises_reason(make: Make) -> None:
    def handler(socket: ServerConnection) -> None:
        socket.recv()
        socket.close(1001, "the service is stopping")

    with websocket_server(handler) as url, make(url).typing() as typing:
        typing.search("x")
        with pytest.raises(ConnectionFailed, match="1001: the service is stopping"):
            list(typing)
        with pytest.raises(ConnectionFailed, match="closed"):
            typing.search("y")


def test_typing_broken_connection_raises(make: Make) -> None:
    def handler(socket: ServerConnection) -> None:
        socket.recv()
        socket.socket.shutdown(2)

    with websocket_server(handler) as url, make(url).typing() as typing:
        typing.search("x")
        with pytest.raises(ConnectionFailed):
            list(typing)


@pytest.mark.parametrize("message", ["no json", "[]", "{}", '{"type": 7}', b"bytes"])
def test_typing_invalid_message_raises_garbled(make: Make, message: str | bytes) -> None:
    def handler(socket: ServerConnection) -> None:
        socket.recv()
        socket.send(message)
        socket.recv()

    with websocket_server(handler) as url, make(url).typing() as typing:
        typing.search("x")
        with pytest.raises(GarbledAnswer):
            list(typing)


def test_typing_times_out_without_messages(make: Make) -> None:
    with websocket_server(ignore_messages) as url:
        with make(url, timeout=0.3).typing() as typing:
            typing.search("x")
            with pytest.raises(TimedOut):
                list(typing)


@pytest.mark.parametrize("code", ["overloaded", "rate_limited", "quota_exceeded"])
def test_typing_error_has_retry_after(make: Make, code: str) -> None:
    def handler(socket: ServerConnection) -> None:
        socket.recv()
        error = {"detail": "Busy", "code": code, "retry_after": 2.5}
        socket.send(json.dumps({"type": "error", "seq": 1} | error))
        socket.recv()

    with websocket_server(handler) as url, make(url).typing() as typing:
        typing.search("x")
        with pytest.raises(Overloaded) as caught:
            list(typing)
    assert caught.value.retry_after == 2.5


def test_typing_raises_error_of_caller_unchanged(make: Make) -> None:
    with websocket_server(ignore_messages) as url:
        with pytest.raises(ZeroDivisionError):
            with make(url).typing():
                raise ZeroDivisionError


def test_typing_closed_rejects_search_and_iteration(make: Make) -> None:
    with websocket_server(ignore_messages) as url:
        with make(url).typing() as typing:
            typing.search("x")
        for use in (lambda: typing.search("y"), lambda: list(typing)):
            with pytest.raises(ConnectionFailed, match="closed at the end of its block"):
                use()
        typing.cancel()


async def test_typing_iteration_ends_when_closed() -> None:
    with websocket_server(ignore_messages) as url:
        async with AsyncSearchClient(url) as client:
            async with client.typing() as typing:
                await typing.search("x")
                listening = asyncio.create_task(_collect(typing))
                await asyncio.sleep(0)
            with pytest.raises(ConnectionFailed):
                await listening


async def test_typing_iteration_sees_search_of_other_task(service: str) -> None:
    async with AsyncSearchClient(service) as client, client.typing() as typing:
        await typing.search("butter", mode="lexical", timeout_ms=5000)
        await typing.cancel()
        await typing.search("but")
        listening = asyncio.create_task(_collect(typing))
        await typing.search("butter", mode="semantic")
        assert {each.leg for each in await listening} == {"semantic", None}
        await typing.search("but")
        waiting = asyncio.create_task(_collect(typing))
        await asyncio.sleep(0)
        await typing.cancel()
        assert len(await waiting) <= 1


async def test_typing_can_be_cancelled_by_wait_for() -> None:
    with websocket_server(ignore_messages) as url:
        async with AsyncSearchClient(url) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_type_and_collect(client, "x"), 0.3)
            async with client.typing() as again:
                await again.cancel()


async def _type_and_collect(client: AsyncSearchClient, text: str) -> list[Any]:
    async with client.typing() as typing:
        await typing.search(text)
        return await _collect(typing)


def _search_and_collect(typing: Any, text: str) -> list[Any]:
    typing.search(text)
    return list(typing)


async def _collect(typing: Any) -> list[Any]:
    return [each async for each in typing]


def test_typing_invalid_frames_raise(make: Make) -> None:
    handshake = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    with scripted_server(Reply(handshake + b"\r\n" + b"\xff" * 40, "hold")) as server:
        with make(server.url, timeout=2).typing() as typing:
            with pytest.raises(ConnectionFailed):
                _search_and_collect(typing, "x")


SILENT = """
import sys
from service.client import SearchClient
with SearchClient(sys.argv[1]) as client, client.typing() as typing:
    typing.search("x")
print("left")
"""


def test_typing_close_does_not_wait_for_close_frame() -> None:
    """A thread that waits for the close frame would keep the process alive."""
    handshake = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    with scripted_server() as server:
        server.replies.append(Reply(handshake + b"\r\n", "hold"))
        done = subprocess.run(
            [sys.executable, "-c", SILENT, server.url], capture_output=True, timeout=60, check=True
        )
    assert done.stdout == b"left\n"
