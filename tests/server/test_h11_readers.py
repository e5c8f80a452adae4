"""Request heads and chunked bodies, in pieces of every size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.server.h11_readers import MAX_EXCESS_BYTES, H11Connection

HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def receive(connection: h11.Connection, pieces: Iterable[bytes]) -> list[Any]:
    """All events of some bytes."""
    events = []
    for piece in pieces:
        connection.receive_data(piece)
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            events.append(event)
    return events


def receive_body(pieces: Iterable[bytes]) -> list[Any]:
    """The events of a chunked body."""
    return receive(H11Connection(65_536), [HEAD, *pieces])[1:]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[position : position + 1] for position in range(len(data))]


def text(events: list[Any]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, h11.Data))


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


CHUNKED = chunk(b"ab", b";a=b") + chunk(b"\r\n" * 9, b' ; a="\xff, b"\t') + b"0\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("pieces", [[CHUNKED], single_bytes(CHUNKED)])
def test_chunked_body_with_extensions_and_trailer_is_read(pieces: list[bytes]) -> None:
    events = receive_body(pieces)
    assert text(events) == b"ab" + b"\r\n" * 9
    assert events[-1].headers == [(b"x", b"y")]


@given(st.lists(st.binary(min_size=1)), st.lists(st.integers(0, 300)))
def test_chunked_body_is_read_as_h11_reads_it(chunks: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(map(chunk, chunks)) + b"0\r\n\r\n"
    ends = [*sorted(cuts), len(whole)]
    pieces = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    pieces = [piece for piece in pieces if piece]
    expected = receive(h11.Connection(h11.SERVER), [HEAD, *pieces])[1:]
    events = receive_body(pieces)
    assert text(events) == text(expected) == b"".join(chunks)
    assert events[-1] == expected[-1] == h11.EndOfMessage()


def test_small_chunks_that_arrive_together_are_one_event() -> None:
    """An event for each would take seconds of CPU for a megabyte."""
    data, end = receive_body([chunk(b"x") * 10_000 + b"0\r\n\r\n"])
    assert data.data == b"x" * 10_000
    assert end == h11.EndOfMessage()


@pytest.mark.parametrize(
    "body",
    [
        b"2;a\x00b\r\nab\r\n",
        b"2;a\rb\r\nab\r\n",
        b"2;\x7f\r\nab\r\n",
        b"2;a\nab\r\n",
        b"2\nab\r\n",
        b"2 a\r\nab\r\n",
        b"-2\r\nab\r\n",
        b"+2\r\nab\r\n",
        b"0x2\r\nab\r\n",
        b"\r\nab\r\n",
        b"11111111111111111\r\nab\r\n",
        b"2\r\nabc\r\n",
        b"2\r\nab0\r\n\r\n",
        b"2\r\nab\n0\r\n\r\n",
        b"2;" + b"a" * 5_000,
    ],
)
def test_invalid_chunk_is_an_error(body: bytes) -> None:
    for pieces in ([body], single_bytes(body)):
        with pytest.raises(h11.RemoteProtocolError) as raised:
            receive_body(pieces)
        assert raised.value.error_status_hint == 400


def test_size_lines_that_are_much_longer_than_data_are_an_error() -> None:
    extension = b";" + b"a" * 1_000
    accepted = MAX_EXCESS_BYTES // 1_000
    assert text(receive_body([chunk(b"x", extension)] * accepted)) == b"x" * accepted
    assert text(receive_body([chunk(b"x" * 1_000, extension)] * 99)) == b"x" * 99_000
    with pytest.raises(h11.RemoteProtocolError, match="extensions are longer"):
        receive_body([chunk(b"x", extension)] * (accepted + 2))


@pytest.mark.parametrize("empty_lines", [b"", b"\r\n", b"\r\n" * 30_000])
def test_empty_lines_before_request_are_skipped(empty_lines: bytes) -> None:
    raw = empty_lines + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    for pieces in ([raw], single_bytes(raw)):
        request, end = receive(H11Connection(65_536), pieces)
        assert request.target == b"/"
        assert end == h11.EndOfMessage()


def test_empty_line_after_body_is_skipped() -> None:
    """Some old clients send one after a POST."""
    connection = H11Connection(65_536)
    receive(connection, [HEAD + b"0\r\n\r\n\r\n"])
    connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()
    assert receive(connection, [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"])[0].method == b"GET"


@pytest.mark.parametrize(
    "start", [b"\rGET / HTTP/1.1", b"\r\n\rGET / HTTP/1.1", b"\r\n / HTTP/1.1"]
)
def test_line_with_carriage_return_before_request_is_an_error(start: bytes) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        receive(H11Connection(65_536), [start + b"\r\nHost: h\r\n\r\n"])
