"""Search results and receipts as JSON, for every protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.caching.answer_cache import Answer
from service.errors import AnswerTooLarge
from service.retrieval.query import Mode, RankedRecord, SearchQuery, Spans
from service.retrieval.receipt import Receipt, Stopwatch
from service.web.responses import encode_records
from service.web.search.cursors import Ranking

SearchAnswer = Answer[Receipt]


class AnswerRenderer:
    """Renders results in the shape of `SearchResult`."""

    def __init__(self, text_field: str, max_bytes: int) -> None:
        self._text_field = text_field
        self._max_bytes = max_bytes

    def results(
        self,
        mode: Mode,
        query: SearchQuery,
        results: Sequence[RankedRecord],
        highlights: Sequence[Spans] | None,
    ) -> list[dict[str, Any]]:
        """Results without explanations. `highlights` has an item for each, or is None."""
        bodies = [self._result(mode, query, result) for result in results]
        if highlights is not None:
            for body, spans in zip(bodies, highlights, strict=True):
                body["highlights"] = spans
        return bodies

    def payload(
        self,
        mode: Mode,
        ranking: Ranking,
        results: Sequence[RankedRecord],
        cursor: str | None,
        highlights: Sequence[Spans] | None,
    ) -> bytes:
        """A page of a ranking without a receipt: the part that can be cached and shared."""
        bodies = self.results(mode, ranking.query, results, highlights)
        if ranking.explanations is not None:
            for body, result in zip(bodies, results, strict=True):
                body["explain"] = ranking.explanations[result.id]
        is_late = ranking.query.highlight and highlights is None
        degraded = bool(ranking.missing) or is_late
        return self.encode({"results": bodies, "degraded": degraded, "cursor": cursor})

    def encode(self, body: Mapping[str, Any]) -> bytes:
        """Encode a body with `results`; raises `AnswerTooLarge`, before that costs memory."""
        size = sum(
            len(value) for each in body["results"] for value in each.values() if type(value) is str
        )
        if size <= self._max_bytes:
            encoded = encode_records(body)
            if len(encoded) <= self._max_bytes:
                return encoded
        raise AnswerTooLarge(
            f"The results have more than {self._max_bytes} bytes; "
            "lower top_k, or ask for fewer or shorter fields with fields"
        )

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
