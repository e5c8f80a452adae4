"""The log line that says what has started, where the indexes differ or do not count."""

from __future__ import annotations

import logging

import pytest

from service.access.grant import Grant
from service.backends import choose_backend
from service.backends.search_backend import SearchBackend
from service.caching import choose_store
from service.indexes.index import IndexStats
from service.retrieval.deadline import Deadline
from service.settings import load_settings
from service.startup import log_start


class CountedBackend(SearchBackend):
    """A backend with these statistics."""

    counts: dict[str, IndexStats]

    async def stats(self, grant: Grant, deadline: Deadline) -> dict[str, IndexStats]:
        return self.counts


async def logged(caplog: pytest.LogCaptureFixture, counts: dict[str, IndexStats] | None) -> str:
    settings = load_settings(pinecone_namespace="shop")
    kind = SearchBackend if counts is None else CountedBackend
    backend = kind(choose_backend(settings), 1, choose_store(settings).invalidate)
    if isinstance(backend, CountedBackend) and counts is not None:
        backend.counts = counts
    with caplog.at_level(logging.INFO):
        await log_start(settings, backend, requires_key=False)
    (record,) = caplog.records
    return record.getMessage()


async def test_start_line_has_the_code_where_an_index_does_not_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert "with an unknown number of records (unavailable);" in await logged(caplog, None)


async def test_start_line_has_a_figure_for_each_index_where_they_differ(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counts = {
        "dense": IndexStats(1_200, 8, "cosine", {"shop": 1_000, "other": 200}),
        "sparse": IndexStats(1_000, None, None, {"shop": 1_000}),
    }
    assert (
        "with dense 1,200 records (1,000 in the namespace shop) and "
        "sparse 1,000 records (1,000 in the namespace shop);"
    ) in await logged(caplog, counts)


async def test_start_line_has_one_figure_where_indexes_agree(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stats = IndexStats(7, 8, "cosine", {"other": 7})
    message = await logged(caplog, {"dense": stats, "sparse": stats})
    assert "with 7 records, 0 of them in the namespace shop;" in message
