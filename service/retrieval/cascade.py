"""The one way of every search: legs at once, fused, reranked.

Knows nothing of who listens. It yields an event as each stage ends; the JSON face waits for the
last one, streaming faces pass them all on. An event has all results, of which a face shows as many
as it was asked for. A search of one leg is a cascade of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence

from service.errors import DeadlineExceeded, NoLegAnswered, RequestError
from service.indexes.queries import Hit
from service.retrieval.deadline import Deadline
from service.retrieval.explain import explain
from service.retrieval.fusion import HitsByLeg, fuse
from service.retrieval.legs import Leg, LegReport
from service.retrieval.query import RankedRecord, SearchQuery, StageEvent
from service.retrieval.receipt import FUSED, Receipt, StageReceipt, Stopwatch, failed_stage
from service.retrieval.rerank import TimedReranker

logger = logging.getLogger(__name__)

CANCEL_GRACE_S = 0.02
MOST_KEPT = 0.5  # of the whole time, for the reranker ...
LEAST_KEPT_S = 0.02  # ... beside what it takes: the event loop has other things to do


async def cascade(
    query: SearchQuery, legs: Sequence[Leg], reranker: TimedReranker | None, deadline: Deadline
) -> AsyncIterator[StageEvent]:
    """Search with every leg at once; raise only when none of them has an answer."""
    receipt = Receipt()
    reports: list[LegReport] = []
    found: dict[str, Sequence[Hit]] = {}
    results: list[RankedRecord] = []
    comparable = query.rerank == "per-leg"  # scores of one reranker, where each leg has them
    async for report in _run(legs, query, reranker, deadline):
        reports.append(report)
        receipt.add(report.stage)
        if report.lost is not None:
            receipt.add(report.lost)
            comparable = False
        if report.answer is not None:
            found[report.stage.stage] = report.answer.hits
            watch = Stopwatch()
            results = _fused(found, query, legs, comparable)
            fusing_ms = watch.ms
            yield StageEvent("leg", results, receipt, report.stage.stage)
    if not found:
        raise _no_answer(reports, deadline)

    if len(legs) > 1:
        receipt.add(StageReceipt("fuse", "ok", fusing_ms, len(results)))
        yield StageEvent("fused", results, receipt)
    fused = results
    if query.rerank == "union" and results and reranker is not None:
        results = await _rerank(query, results, legs[0].text_field, reranker, deadline, receipt)
        yield StageEvent("reranked", results, receipt)
    reranked = results if results is not fused else None  # a failed rerank leaves what was fused
    explanations = None
    if query.explain:
        in_order = {leg.name: found[leg.name] for leg in legs if leg.name in found}
        explanations = explain(
            results, in_order, fused, reranked, lambda left: _fused(left, query, legs, comparable)
        )
    yield StageEvent("done", results, receipt, explanations=explanations)


async def _run(
    legs: Sequence[Leg], query: SearchQuery, reranker: TimedReranker | None, deadline: Deadline
) -> AsyncIterator[LegReport]:
    """Each leg's report as it comes in, and a late one for each that is waited for no longer.

    That is at the deadline. But where one leg has an answer and a reranker is to follow, the others
    have only as long as leaves the reranker the time that it usually takes.
    """
    if len(legs) == 1:
        yield await legs[0].search(query, reranker, deadline, fallback=None)
        return
    watch = Stopwatch()
    tasks = {
        asyncio.create_task(
            leg.search(query, reranker, deadline, _others(leg, legs)), name=f"{leg.name} leg"
        ): leg
        for leg in legs
    }
    kept_s = _kept_for(reranker, deadline) if query.rerank == "union" else 0.0
    patience_s = None  # a leg ends by itself at the deadline
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                report = task.result()
                if kept_s and report.answer is not None:
                    patience_s = deadline.remaining() - kept_s
                yield report
        for task in pending:
            leg, error = tasks[task], _late(deadline)
            yield LegReport(failed_stage(leg.name, watch, error, _others(leg, legs)), error=error)
    finally:
        if pending:
            await _abandon(pending)


def _others(leg: Leg, legs: Sequence[Leg]) -> str | None:
    """What stands in for a leg: the others."""
    return ", ".join(other.name for other in legs if other is not leg) or None


def _kept_for(reranker: TimedReranker | None, deadline: Deadline) -> float:
    """Seconds that a reranker should be left with: all that it may have, where none is known."""
    if reranker is None:
        return 0.0
    most = MOST_KEPT * deadline.seconds
    return min(LEAST_KEPT_S + (reranker.latencies.p95 or most), most)


async def _abandon(tasks: Collection[asyncio.Task[LegReport]]) -> None:
    """Cancel, and see to it that they end; but one that won't can't keep the answer."""
    for task in tasks:
        task.cancel()
    _, deaf = await asyncio.wait(tasks, timeout=CANCEL_GRACE_S)
    for task in deaf:
        logger.error("%s does not end although it was cancelled", task.get_name())


def _fused(
    found: HitsByLeg, query: SearchQuery, legs: Sequence[Leg], comparable: bool
) -> list[RankedRecord]:
    return fuse(
        {leg.name: found[leg.name] for leg in legs if leg.name in found},
        method="best" if comparable else query.fusion,
        weights=_weights(query, legs),
        asked=max(leg.asks_for(query) for leg in legs),
    )


def _weights(query: SearchQuery, legs: Sequence[Leg]) -> dict[str, float]:
    """The query's, where it says; else each leg's own."""
    lexical = query.lexical_weight
    if lexical is None:
        return {leg.name: leg.weight for leg in legs}
    return {leg.name: lexical if leg.name == "lexical" else 1 - lexical for leg in legs}


async def _rerank(
    query: SearchQuery,
    results: list[RankedRecord],
    text_field: str,
    reranker: TimedReranker,
    deadline: Deadline,
    receipt: Receipt,
) -> list[RankedRecord]:
    """The reranked results, or the fused ones where the reranker fails, is late, or would be."""
    watch = Stopwatch()
    if deadline.remaining() < (reranker.latencies.p50 or 0.0):
        receipt.add(
            StageReceipt("rerank", "skipped", 0, error="no_time", attempts=0, fallback=FUSED)
        )
        return results
    try:
        reranked, ranking = await reranker.rank(query.text, results, text_field, deadline)
    except RequestError as exc:
        receipt.add(failed_stage("rerank", watch, exc, FUSED))
        return results
    usage = {"rerank_units": ranking.units}
    candidates = min(len(results), reranker.max_documents)
    receipt.add(StageReceipt("rerank", "ok", watch.ms, candidates, usage, attempts=ranking.tries))
    return reranked


def _no_answer(reports: Sequence[LegReport], deadline: Deadline) -> RequestError:
    """The error of all legs where they agree, and one that names each of them where they don't."""
    errors = [report.error for report in reports if report.error is not None]
    if all(isinstance(error, DeadlineExceeded) for error in errors):
        return _late(deadline)
    if len({error.code for error in errors}) == 1:
        return errors[0]
    each = "; ".join(f"{report.stage.stage}: {report.error}" for report in reports)
    return NoLegAnswered(f"No leg of this search could answer. {each}")


def _late(deadline: Deadline) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"There was no answer within {deadline.seconds * 1000:.0f} ms; "
        "try again, or allow more time with timeout_ms"
    )
