"""Search results and receipts as JSON, for every protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from service.backends.search_backend import SearchBackend
from service.caching.answer_cache import Answer
from service.retrieval.query import Mode, RankedRecord, SearchQuery
from service.retrieval.receipt import Receipt, Stopwatch
from service.web.responses import encode_records
from service.web.search.cursors import Ranking

SearchAnswer = Answer[Receipt]
BASIC_PLANE_END = "\uffff"  # characters up to this have one UTF-16 code unit


class AnswerRenderer:
    """Renders results in the shape of `SearchResult`."""

    def __init__(self, text_field: str, backend: SearchBackend) -> None:
        self._text_field = text_field
        self._backend = backend

    def results(
        self, mode: Mode, query: SearchQuery, results: Sequence[RankedRecord]
    ) -> list[dict[str, Any]]:
        """Results without explanations."""
        bodies = [self._result(mode, query, result) for result in results]
        if query.highlight:
            for body, result in zip(bodies, results, strict=True):
                body["highlights"] = self._highlights(query, result.fields.get(self._text_field))
        return bodies

    def payload(
        self, mode: Mode, ranking: Ranking, results: Sequence[RankedRecord], cursor: str | None
    ) -> bytes:
        """A page of a ranking without a receipt: the part that can be cached and shared."""
        bodies = self.results(mode, ranking.query, results)
        if ranking.explanations is not None:
            for body, result in zip(bodies, results, strict=True):
                body["explain"] = ranking.explanations[result.id]
        degraded = bool(ranking.missing)
        return encode_records({"results": bodies, "degraded": degraded, "cursor": cursor})

    def _highlights(self, query: SearchQuery, text: Any) -> list[tuple[int, int]]:
        highlighter = self._backend.highlighter
        if highlighter is None or not isinstance(text, str):
            return []
        spans = highlighter(query.text, text, query.typos)
        return _utf16_spans(text, spans) if query.offsets == "utf16" else spans

    def _result(self, mode: Mode, query: SearchQuery, result: RankedRecord) -> dict[str, Any]:
        body: dict[str, Any] = {"_id": result.id, "score": result.score}
        if query.fields is None:
            body["chunk_text"] = result.fields.get(self._text_field)
        else:
            names = result.fields if query.fields == ("*",) else query.fields
            body.update({name: result.fields[name] for name in names if name in result.fields})
            body.update(_id=result.id, score=result.score)  # even if a field has such a name
        if mode == "cascading":
            body["found_by"] = result.found_by
        return body


def _utf16_spans(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Convert spans from characters to UTF-16 code units, of which an emoji has two."""
    if not text or max(text) <= BASIC_PLANE_END:
        return spans
    offsets = [0, *accumulate(1 + (character > BASIC_PLANE_END) for character in text)]
    return [(offsets[start], offsets[end]) for start, end in spans]


def add_receipt(payload: bytes, receipt: Mapping[str, Any]) -> bytes:
    """Insert the receipt as the last member of the payload's JSON object."""
    return b'%b,"receipt":%b}' % (payload[:-1], encode_records(receipt))


def answer_receipt(answer: SearchAnswer, watch: Stopwatch) -> dict[str, Any]:
    """The receipt for a client whose request started with the watch."""
    if answer.receipt is None:
        return cached_receipt(watch.ms, answer.source, age_ms=answer.age_s * 1000)
    receipt = answer.receipt
    note = {} if receipt.note is None else {"note": receipt.note}
    return {
        "ms": round(receipt.ms, 3),
        "cache": answer.source,
        **note,
        "missing": receipt.missing,
        "stages": [
            {
                "stage": stage.stage,
                "status": stage.status,
                "ms": round(stage.ms, 3),
                "candidates": stage.candidates,
                "usage": stage.usage,
                "error": stage.error,
                "attempts": stage.attempts,
                "fallback": stage.fallback,
            }
            for stage in receipt.stages
        ],
    }


def cached_receipt(
    ms: float, cache: str, *, missing: Sequence[str] = (), age_ms: float | None = None
) -> dict[str, Any]:
    """The receipt of an answer for which no stage was run."""
    age = {} if age_ms is None else {"age_ms": round(age_ms, 3)}
    return {"ms": round(ms, 3), "cache": cache, **age, "missing": missing, "stages": []}
