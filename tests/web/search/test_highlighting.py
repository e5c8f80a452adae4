"""Tests for the highlights of many results."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import DeadlineExceeded
from service.retrieval.deadline import Deadline
from service.retrieval.query import Highlight, RankedRecord, SearchQuery, Spans
from service.web.search.highlighting import CHUNK_CHARS, ResultHighlighter

QUERY = SearchQuery("a", 10, "default", "none", highlight=True)


async def test_late_highlights_end_after_a_chunk() -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    texts: list[str] = []

    def find(text: str) -> Spans:
        texts.append(text[:1])
        has_begun.set()
        assert may_end.wait(10)
        return []

    def highlighter(*_: object) -> Highlight:
        return find

    backend: Any = SimpleNamespace(highlighter=highlighter)
    highlighting = ResultHighlighter("text", backend)
    results = [RankedRecord(each, 1, {"text": each * CHUNK_CHARS}, ()) for each in "abc"]
    with pytest.raises(DeadlineExceeded):
        await highlighting.highlight(QUERY, results, Deadline(0.05))
    assert await asyncio.to_thread(has_begun.wait, 10)
    may_end.set()
    last = RankedRecord("z", 1, {"text": "z"}, ())
    assert await highlighting.highlight(QUERY, [last], Deadline(10)) == [[]]
    assert texts in (["a", "z"], ["z"])  # never begun if the machine was slow
