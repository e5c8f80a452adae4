"""Server-sent events: parsing does not depend on how the bytes are chunked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client import GarbledAnswer
from service.client.sse import EventParser, ServerSentEvent

pieces = (
    st.sampled_from(["data: one", "data:two", "data", "data:  x", "data: é漢😀", "\ufeffdata: bom"])
    | st.sampled_from(["event: leg", "event:", "id: 7", "id: a\0b", "id", "retry: 5"])
    | st.sampled_from([": heart", ":", "odd", "odd: x"])
    | st.just("")
)
ends = st.sampled_from(["\n", "\r", "\r\n"])
streams = st.lists(st.tuples(pieces, ends), max_size=30).map(
    lambda lines: "".join(line + end for line, end in lines)
)


def of_whole(text: str) -> list[ServerSentEvent]:
    """The algorithm of the HTML standard, on a complete text."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events: list[ServerSentEvent] = []
    data: list[str] = []
    name = id = last = ""
    for line in lines[:-1]:
        if not line:
            last = id
            if data:
                events.append(ServerSentEvent(name or "message", "\n".join(data), last))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            id = value
    return events


@given(streams, st.data())
def test_event_parser_matches_standard_for_any_chunks(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=12)))
    parser = EventParser()
    events = []
    for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        events += parser.feed(raw[begin:end])
    assert events == of_whole(text)


@given(streams)
def test_event_parser_accepts_single_bytes(text: str) -> None:
    parser = EventParser()
    events = [event for byte in text.encode() for event in parser.feed(bytes([byte]))]
    assert events == of_whole(text)


def test_event_parser_drops_unfinished_event() -> None:
    parser = EventParser()
    assert parser.feed(b"event: done\ndata: {}\n") == []
    assert parser.feed(b"\n") == [ServerSentEvent("done", "{}", "")]


@pytest.mark.parametrize("piece", [b"data: xxxxxxxxx\n", b"xxxxxxxxx"])
def test_event_parser_limits_event_size(piece: bytes) -> None:
    with pytest.raises(GarbledAnswer):
        list(map(EventParser(max_bytes=100).feed, [piece] * 20))
    short = EventParser(max_bytes=100)
    for _ in range(20):
        assert short.feed(b"data: xxxxxxxxx\n\n")
