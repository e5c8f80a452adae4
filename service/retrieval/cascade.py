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
from service.indexes.dialect import Hit
from service.inference.port import Reranker
from service.retrieval.deadline import Deadline
from service.retrieval.fusion import fuse
from service.retrieval.legs import Leg, LegReport
from service.retrieval.query import Event, Query, Result
from service.retrieval.receipt import Receipt, StageReceipt, Stopwatch, failed
from service.retrieval.rerank import rerank

logger = logging.getLogger(__name__)

CANCEL_GRACE_S = 0.05


async def cascade(
    query: Query, legs: Sequence[Leg], reranker: Reranker | None, deadline: Deadline
) -> AsyncIterator[Event]:
    """Search with every leg at once; raise only when none of them has an answer."""
    receipt = Receipt()
    reports: list[LegReport] = []
    found: dict[str, Sequence[Hit]] = {}
    results: list[Result] = []
    async for report in _run(legs, query, reranker, deadline):
        reports.append(report)
        receipt.add(report.stage)
        if report.answer is not None:
            found[report.stage.stage] = report.answer.hits
            watch = Stopwatch()
            results = _fused(found, query, legs)
            fusing_ms = watch.ms
            yield Event("leg", results, receipt, report.stage.stage)
    if not found:
        raise _no_answer(reports, deadline)

    if len(legs) > 1:
        receipt.add(StageReceipt("fuse", "ok", fusing_ms, len(results)))
        yield Event("fused", results, receipt)
    if query.rerank == "union" and results and reranker is not None:
        results = await _rerank(query, results, legs[0].text_field, reranker, deadline, receipt)
        yield Event("reranked", results, receipt)
    yield Event("done", results, receipt)


async def _run(
    legs: Sequence[Leg], query: Query, reranker: Reranker | None, deadline: Deadline
) -> AsyncIterator[LegReport]:
    """Each leg's report as it comes in; at the deadline, a late one for each that is still out."""
    watch = Stopwatch()
    tasks = {
        asyncio.create_task(leg.search(query, reranker, deadline), name=f"{leg.name} leg"): leg
        for leg in legs
    }
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=deadline.remaining(), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                yield task.result()
        for task in pending:
            error = _late(deadline)
            yield LegReport(failed(tasks[task].name, watch, error), error=error)
    finally:
        if pending:
            await _abandon(pending)


async def _abandon(tasks: Collection[asyncio.Task[LegReport]]) -> None:
    """Cancel, and see to it that they end; but one that won't can't keep the answer."""
    for task in tasks:
        task.cancel()
    _, deaf = await asyncio.wait(tasks, timeout=CANCEL_GRACE_S)
    for task in deaf:
        logger.error("%s does not end although it was cancelled", task.get_name())


def _fused(found: dict[str, Sequence[Hit]], query: Query, legs: Sequence[Leg]) -> list[Result]:
    return fuse(
        {leg.name: found[leg.name] for leg in legs if leg.name in found},
        weights={leg.name: leg.weight for leg in legs},
        asked=max(leg.asks_for(query) for leg in legs),
        comparable=query.rerank == "per-leg",
    )


async def _rerank(
    query: Query,
    results: list[Result],
    text_field: str,
    reranker: Reranker,
    deadline: Deadline,
    receipt: Receipt,
) -> list[Result]:
    """The reranked results, or the fused ones where the reranker fails or is late."""
    watch = Stopwatch()
    try:
        async with asyncio.timeout(deadline.remaining()):
            reranked, units = await rerank(reranker, query.text, results, text_field)
    except RequestError as exc:
        receipt.add(failed("rerank", watch, exc))
        return results
    except TimeoutError:
        receipt.add(failed("rerank", watch, _late(deadline)))
        return results
    usage = {"rerank_units": units}
    candidates = min(len(results), reranker.max_documents)
    receipt.add(StageReceipt("rerank", "ok", watch.ms, candidates, usage))
    return reranked


def _no_answer(reports: Sequence[LegReport], deadline: Deadline) -> RequestError:
    """The error of all legs where they agree, and one that names each of them where they don't."""
    errors = [report.error for report in reports if report.error is not None]
    if len({error.code for error in errors}) == 1:
        return errors[0]
    if all(isinstance(error, DeadlineExceeded) for error in errors):
        return _late(deadline)
    each = "; ".join(f"{report.stage.stage}: {report.error}" for report in reports)
    return NoLegAnswered(f"No leg of this search could answer. {each}")


def _late(deadline: Deadline) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"There was no answer within {deadline.seconds * 1000:.0f} ms; "
        "try again, or allow more time with timeout_ms"
    )
