"""Highlights of results: in a thread of their own, and within the deadline of the search.

To find the words of a query in a text takes about as long as to index it, 10 ms for the longest
ones. So the query is analyzed once, and the texts in small chunks, between which searches take
turns, and after each of which a search that is late or cancelled ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate

from service.backends.search_backend import SearchBackend
from service.errors import DeadlineExceeded
from service.retrieval.deadline import Deadline
from service.retrieval.query import Highlight, RankedRecord, SearchQuery, Spans

STAGE = "highlight"
CHUNK_CHARS = 30_000  # some 10 ms
BASIC_PLANE_END = "\uffff"  # characters up to this have one UTF-16 code unit


class ResultHighlighter:
    """Highlights the text field of results."""

    def __init__(self, text_field: str, backend: SearchBackend) -> None:
        self._text_field = text_field
        self._backend = backend
        self._thread = ThreadPoolExecutor(1, STAGE)  # more would only compete for the interpreter

    async def highlight(
        self, query: SearchQuery, results: Sequence[RankedRecord], deadline: Deadline
    ) -> list[Spans]:
        """The spans of each result; raises `DeadlineExceeded`."""
        highlighter = self._backend.highlighter
        if highlighter is None or not results:
            return [[] for _ in results]
        run = asyncio.get_running_loop().run_in_executor
        analyzed = cache(lambda: highlighter(query.text, query.typos))
        spans: list[Spans] = []
        try:
            async with asyncio.timeout(deadline.remaining()):
                for texts in _chunks([self._text(result) for result in results]):
                    spans += await run(self._thread, _highlight, analyzed, texts, query)
        except TimeoutError:
            raise DeadlineExceeded("The highlights were not finished in time") from None
        return spans

    def _text(self, result: RankedRecord) -> str:
        text = result.fields.get(self._text_field)
        return text if isinstance(text, str) else ""


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Consecutive texts; a chunk ends with the text that makes it long enough."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= CHUNK_CHARS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _highlight(
    analyzed: Callable[[], Highlight], texts: Sequence[str], query: SearchQuery
) -> list[Spans]:
    highlight = analyzed()
    found = [highlight(text) for text in texts]
    if query.offsets == "utf16":
        return [_utf16_spans(text, spans) for text, spans in zip(texts, found, strict=True)]
    return found


def _utf16_spans(text: str, spans: Spans) -> Spans:
    """Convert spans from characters to UTF-16 code units, of which an emoji has two."""
    if not text or max(text) <= BASIC_PLANE_END:
        return spans
    offsets = [0, *accumulate(1 + (character > BASIC_PLANE_END) for character in text)]
    return [(offsets[start], offsets[end]) for start, end in spans]
