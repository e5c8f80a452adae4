"""The search cascade: run the legs concurrently, fuse their hits, rerank the union.

It yields an event as each stage ends. The JSON route waits for the last event; streaming routes
forward all of them. An event holds all results; a route returns as many as were requested. A search
with a single leg takes the same path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from service.errors import DeadlineExceeded, NoLegAnswered, RequestError
from service.indexes.queries import Hit
from service.retrieval.deadline import Deadline
from service.retrieval.explain import explain
from service.retrieval.fusion import HitsByLeg, fuse
from service.retrieval.legs import Leg, LegReport
from service.retrieval.query import Explanations, RankedRecord, SearchQuery, StageEvent
from service.retrieval.receipt import FUSED, Receipt, StageReceipt, Stopwatch, failed_stage
from service.retrieval.rerank import TimedReranker

logger = logging.getLogger(__name__)

CANCEL_GRACE_S = 0.02
MAX_RESERVED_SHARE = 0.5  # of the whole timeout, for the reranker
RESERVE_MARGIN_S = 0.02  # beyond the latency of the reranker: the event loop may be busy


async def cascade(
    query: SearchQuery,
    legs: Sequence[Leg],
    reranker: TimedReranker | None,
    deadline: Deadline,
    receipt: Receipt,
) -> AsyncIterator[StageEvent]:
    """Search with every leg concurrently; raise only if all of them fail.

    `receipt` gets each stage as it ends, even if the search is cancelled or fails later.
    """
    reports: list[LegReport] = []
    found: dict[str, Sequence[Hit]] = {}
    results: list[RankedRecord] = []
    comparable = query.rerank == "per-leg"  # scores of one reranker, where each leg has them
    async for report in _run(legs, query, reranker, deadline):
        reports.append(report)
        receipt.add(report.stage)
        if report.rerank_failure is not None:
            receipt.add(report.rerank_failure)
            comparable = False
        if report.answer is not None:
            found[report.stage.stage] = report.answer.hits
            watch = Stopwatch()
            results = _fuse_found(found, query, legs, comparable)
            fusing_ms = watch.ms
            yield StageEvent("leg", results, receipt, report.stage.stage)
    if not found:
        raise _no_answer(reports, deadline)

    if len(legs) > 1:
        receipt.add(StageReceipt("fuse", "ok", fusing_ms, len(results)))
        yield StageEvent("fused", results, receipt)
    fused = results
    if query.rerank == "union" and results and reranker is not None:
        results = await _rerank_union(
            query, results, legs[0].text_field, reranker, deadline, receipt
        )
        yield StageEvent("reranked", results, receipt)
    reranked = results if results is not fused else None  # a failed rerank leaves what was fused
    explanations = None
    if query.explain:
        in_order = {leg.name: found[leg.name] for leg in legs if leg.name in found}
        explanations = await _explain(
            lambda: explain(
                results,
                in_order,
                fused,
                reranked,
                lambda left: _fuse_found(left, query, legs, comparable),
            ),
            deadline,
            receipt,
        )
    yield StageEvent("done", results, receipt, explanations=explanations)


async def _run(
    legs: Sequence[Leg], query: SearchQuery, reranker: TimedReranker | None, deadline: Deadline
) -> AsyncIterator[LegReport]:
    """Yield each leg's report as it arrives, then a late report for each leg that timed out.

    A leg times out at the deadline. If one leg has an answer and a reranker follows, the others
    time out earlier, so that the reranker keeps the time that it usually takes.
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
    reserved_s = _reserved_for(reranker, deadline) if query.rerank == "union" else 0.0
    wait_s = None  # a leg ends by itself at the deadline
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                report = task.result()
                if reserved_s and report.answer is not None:
                    wait_s = deadline.remaining() - reserved_s
                yield report
        for task in pending:
            leg, error = tasks[task], _late(deadline)
            yield LegReport(failed_stage(leg.name, watch, error, _others(leg, legs)), error=error)
    finally:
        if pending:
            await _cancel(pending)


def _others(leg: Leg, legs: Sequence[Leg]) -> str | None:
    """The fallback of a leg: the names of the other legs."""
    return ", ".join(other.name for other in legs if other is not leg) or None


def _reserved_for(reranker: TimedReranker | None, deadline: Deadline) -> float:
    """Seconds to reserve for the reranker; the maximum while its latency is unknown."""
    if reranker is None:
        return 0.0
    max_s = MAX_RESERVED_SHARE * deadline.seconds
    return min(RESERVE_MARGIN_S + (reranker.latencies.p95 or max_s), max_s)


async def _cancel(tasks: Collection[asyncio.Task[LegReport]]) -> None:
    """Cancel tasks and wait until they end, but only briefly, so as not to delay the answer."""
    for task in tasks:
        task.cancel()
    _, unfinished = await asyncio.wait(tasks, timeout=CANCEL_GRACE_S)
    for task in unfinished:
        logger.error("%s did not end after it was cancelled", task.get_name())


def _fuse_found(
    found: HitsByLeg, query: SearchQuery, legs: Sequence[Leg], comparable: bool
) -> list[RankedRecord]:
    return fuse(
        {leg.name: found[leg.name] for leg in legs if leg.name in found},
        method="best" if comparable else query.fusion,
        weights=_weights(query, legs),
        requested=max(leg.hits_to_request(query) for leg in legs),
    )


def _weights(query: SearchQuery, legs: Sequence[Leg]) -> dict[str, float]:
    """The weights that the query sets, or else those of the legs."""
    lexical = query.lexical_weight
    if lexical is None:
        return {leg.name: leg.weight for leg in legs}
    return {leg.name: lexical if leg.name == "lexical" else 1 - lexical for leg in legs}


async def _rerank_union(
    query: SearchQuery,
    results: list[RankedRecord],
    text_field: str,
    reranker: TimedReranker,
    deadline: Deadline,
    receipt: Receipt,
) -> list[RankedRecord]:
    """The reranked results; the fused ones if the reranker fails, is late, or would be late."""
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


async def _explain(
    explained: Callable[[], Explanations], deadline: Deadline, receipt: Receipt
) -> Explanations | None:
    """The explanations from a thread, since ten thousand take long; None if they are late."""
    watch = Stopwatch()
    try:
        async with asyncio.timeout(deadline.remaining()):
            return await asyncio.to_thread(explained)
    except TimeoutError:
        receipt.add(failed_stage("explain", watch, _late(deadline), fallback=None))
        return None


def _no_answer(reports: Sequence[LegReport], deadline: Deadline) -> RequestError:
    """The common error of all legs, or one that lists the error of each leg."""
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
