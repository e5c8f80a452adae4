"""The receipt of a search: the outcome of each stage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from service.errors import DeadlineExceeded, RequestError

FUSED = "fused"  # the order that is kept if reranking fails
NOTHING_USED: Mapping[str, int] = {}

Status = Literal["ok", "failed", "late", "skipped"]


class StageReceipt(NamedTuple):
    """One stage: how it ended, how long it took, what it found and what it used.

    `attempts` is the number of calls made; `fallback` names what replaces a stage that failed.
    """

    stage: str
    status: Status
    ms: float
    candidates: int = 0
    usage: Mapping[str, int] = NOTHING_USED
    error: str | None = None
    attempts: int = 1
    fallback: str | None = None


class Stopwatch:
    """Milliseconds since it was made."""

    __slots__ = ("_started",)

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000


class Receipt:
    """The stages so far. One that is not ok makes the answer degraded.

    `note` says what a person should know about an answer that is not degraded. `span_context` names
    the span of the search, where tracing is on.
    """

    __slots__ = ("_watch", "note", "span_context", "stages")

    def __init__(self) -> None:
        self._watch = Stopwatch()
        self.stages: list[StageReceipt] = []
        self.note: str | None = None
        self.span_context: Any = None

    def add(self, stage: StageReceipt) -> None:
        self.stages.append(stage)

    @property
    def ms(self) -> float:
        """Milliseconds since the search began."""
        return self._watch.ms

    @property
    def missing(self) -> list[str]:
        """The stages that did not succeed."""
        return list(dict.fromkeys(each.stage for each in self.stages if each.status != "ok"))

    @property
    def degraded(self) -> bool:
        return bool(self.missing)


def failed_stage(
    stage: str, watch: Stopwatch, error: RequestError, fallback: str | None
) -> StageReceipt:
    """The receipt of a stage that ended in `error`."""
    status: Status = "late" if isinstance(error, DeadlineExceeded) else "failed"
    return StageReceipt(
        stage, status, watch.ms, error=error.code, attempts=error.tries, fallback=fallback
    )
