"""One stage of one engine, in its own process: `python -m bench.engine.stages`.

A fresh process for each stage makes memory and start-up comparable. Prints one JSON object. A stage
with a time limit reports how far it came.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from bench.engine import ours
from bench.engine.corpus import SELECTIVITIES, TOP_K, Corpus, Question
from bench.engine.lag import LoopLag
from bench.engine.port import Engine, Filter
from bench.engine.rivals import RIVALS

WARM_UP = 20  # searches of each kind that are not measured
AT_ONCE = 8  # searches in flight while the loop lag is measured
MIB = 1 << 20
KINDS = ("dense", "meaning", "words")

ENGINES: dict[str, type[Engine]] = {"cascade": ours.Cascade, **RIVALS}


async def load(engine: Engine, corpus: Corpus, folder: Path, limit_s: float) -> dict[str, Any]:
    """Load all records into an empty folder, finish, measure and close."""
    before = _resident()
    await engine.open(folder)
    started = time.perf_counter()
    loaded = 0
    async with LoopLag() as loading:
        for batch in corpus.batches(engine.batch):
            await engine.load(batch)
            loaded += len(batch.numbers)
            if time.perf_counter() - started > limit_s:
                break
        added_s = time.perf_counter() - started
    async with LoopLag() as saving:
        await engine.finish()
        load_s = time.perf_counter() - started
        grown = _resident() - before
        await engine.close()
        await asyncio.sleep(0)  # the sampler sees the effect of closing
    return {
        "loaded": loaded,
        "cut_off": loaded < corpus.records,
        "add_s": added_s,
        "load_s": load_s,
        "per_s": loaded / load_s,
        "memory_mib_loaded": grown / MIB,
        "disk_mib": _on_disk(folder) / MIB,
        "lag_loading_ms": loading.longest_ms,
        "lag_saving_ms": saving.longest_ms,
    }


async def search(engine: Engine, corpus: Corpus, folder: Path, limit_s: float) -> dict[str, Any]:
    """Reopen, and measure start-up, latency, recall and memory."""
    questions = corpus.questions()
    before = _resident()
    started = time.perf_counter()
    await engine.open(folder)
    opened_s = time.perf_counter() - started
    await _first_answer(engine, questions[0])
    answered_s = time.perf_counter() - started
    told: dict[str, Any] = {"open_s": opened_s, "first_answer_s": answered_s, "kinds": {}}
    told["memory_mib_opened"] = (_resident() - before) / MIB
    for kind in KINDS:
        for field in ("", *SELECTIVITIES):
            found = await _timed(_asker(engine, kind), questions, kind, field, limit_s)
            if found is not None:
                told["kinds"][f"{kind} {field}".strip()] = found
    told["memory_mib_searched"] = (_resident() - before) / MIB
    if isinstance(engine, ours.Cascade):  # the others have no event loop
        told["lag_searching_ms"] = await _searching_lag(engine, questions)
        told["lag_idle_ms"] = await _idle_lag()
    await engine.close()
    return told


async def rebuild(engine: Engine, _: Corpus, folder: Path, __: float) -> dict[str, Any]:
    """Ours only: open without any view, and close."""
    ours.lose_views(folder)
    started = time.perf_counter()
    await engine.open(folder)
    rebuilt_s = time.perf_counter() - started
    await engine.close()
    return {"rebuild_s": rebuilt_s}


STAGES: dict[str, Callable[[Engine, Corpus, Path, float], Coroutine[Any, Any, dict[str, Any]]]] = {
    "load": load,
    "search": search,
    "rebuild": rebuild,
}

Ask = Callable[[Question, Filter | None], Awaitable[list[str] | None]]


def _asker(engine: Engine, kind: str) -> Ask:
    if kind == "dense":
        return lambda question, only: engine.search_dense(question.vector, only)
    if kind == "meaning":
        return lambda question, only: engine.search_meaning(question.words, only)
    return lambda question, only: engine.search_words(question.words, only)


async def _first_answer(engine: Engine, question: Question) -> None:
    """Search once by vector (or meaning) and once by words: some engines load lazily."""
    if await _asker(engine, "dense")(question, None) is None:
        await _asker(engine, "meaning")(question, None)
    await _asker(engine, "words")(question, None)


async def _timed(
    ask: Ask, questions: Sequence[Question], kind: str, field: str, limit_s: float
) -> dict[str, Any] | None:
    """Latencies of one kind of search; None if the engine does not support it."""
    end = time.perf_counter() + limit_s
    latencies: list[float] = []
    shares: list[float] = []
    hits = filter_violations = 0
    for warming, question in [
        *((True, each) for each in questions[:WARM_UP]),
        *((False, each) for each in questions),
    ]:
        filter = (field, question.values[field]) if field else None
        started = time.perf_counter()
        found = await ask(question, filter)
        ended = time.perf_counter()
        if found is None:
            return None
        if not warming:
            latencies.append(ended - started)
            truth = question.truth[field]
            shares.append(len(set(found) & set(truth)) / len(truth))
            hits += len(found)
            filter_violations += _filter_violations(found, filter)
        if ended > end and latencies:
            break
    p50, p99 = np.percentile(latencies, [50, 99])
    return {
        "p50_ms": 1000 * p50,
        "p99_ms": 1000 * p99,
        "searches": len(latencies),
        "recall": float(np.mean(shares)) if kind != "words" else None,
        "hits": hits / len(latencies),
        "filter_violations": filter_violations,  # or fewer than ten hits
    }


def _filter_violations(found: list[str], filter: Filter | None) -> int:
    extra = max(len(found) - TOP_K, 0) + len(found) - len(set(found))
    if filter is None:
        return extra
    field, value = filter
    return extra + sum(f"{field}{int(id) % SELECTIVITIES[field]}" != value for id in found)


async def _searching_lag(engine: Engine, questions: Sequence[Question]) -> float:
    """The longest lag of the loop with a few searches of every kind in flight."""
    waiting = [
        (kind, question, (field, question.values[field]) if field else None)
        for question in questions[: len(questions) // 4]
        for kind in KINDS
        for field in ("", *SELECTIVITIES)
    ]

    async def ask_on() -> None:
        while waiting:
            kind, question, filter = waiting.pop()
            await _asker(engine, kind)(question, filter)

    async with LoopLag() as lag:
        await asyncio.gather(*(ask_on() for _ in range(AT_ONCE)))
    return lag.longest_ms


async def _idle_lag() -> float:
    async with LoopLag() as lag:
        await asyncio.sleep(1)
    return lag.longest_ms


def _resident() -> int:
    """Resident memory of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def _on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.engine.stages")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, required=True)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    stage = STAGES[options.stage](
        ENGINES[options.engine](), Corpus(options.corpus), options.folder, options.limit_s
    )
    json.dump(uvloop.run(stage), sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
