"""Tests that a selection ends when no caller waits for it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pyroaring import BitMap

from service.embedded.filters.index import CheckCancelled, FilterIndex
from service.embedded.threads import run_cancellable


async def test_cancelled_selection_ends_with_the_condition_at_hand() -> None:
    index = FilterIndex(not_compared=["text"])
    index.add(1, "", {"text": "bread"})
    has_begun, may_end = threading.Event(), threading.Event()
    texts: list[str] = []

    def match(_field: str, _operator: str, text: str) -> BitMap:
        texts.append(text)
        has_begun.set()
        assert may_end.wait(10)
        return BitMap([1])

    def select(check_cancelled: CheckCancelled) -> BitMap:
        filter = {"$and": [{"text": {"$match_any": word}} for word in ("one", "two", "three")]}
        return index.select("", filter, match, check_cancelled)

    with ThreadPoolExecutor(1) as executor:
        selection = asyncio.create_task(run_cancellable(executor, select))
        assert await asyncio.to_thread(has_begun.wait, 10)
        selection.cancel()
        with pytest.raises(asyncio.CancelledError):
            await selection
        may_end.set()
    assert texts == ["one"]
