"""The metrics of several worker processes: each one answers the others over a Unix socket.

A scrape reaches any one of the workers. It asks the others, and reports all of them with the label
`worker`. Values in shared memory, as in prometheus_client's multiprocess mode, would cost twice the
time on every request, and would leave out what is read only when the metrics are scraped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from prometheus_client import Metric

logger = logging.getLogger(__name__)

TIMEOUT_S = 2.0

Collect = Callable[[], Awaitable[Sequence[Metric]]]


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """The `count` workers of a supervisor, of which this is `number`, from 1.

    Only their user can open the sockets in `folder`.
    """

    folder: Path
    number: int
    count: int

    @property
    def others(self) -> list[int]:
        return [number for number in range(1, self.count + 1) if number != self.number]

    def socket(self, number: int) -> Path:
        return self.folder / f"{number}.sock"


@contextlib.asynccontextmanager
async def answering(group: WorkerGroup, collect: Collect) -> AsyncIterator[None]:
    """Send the metrics of this worker to every connection, until the end of the block.

    If it can't listen, such as below a path that is too long for a socket, the others go without.
    """

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            writer.write(encode(await collect()))
            await writer.drain()

    path = group.socket(group.number)
    try:
        path.unlink(missing_ok=True)  # of a worker that was killed
        server = await asyncio.start_unix_server(answer, path)
    except OSError as exc:
        logger.warning("the other workers will not report this one in /metrics: %s", exc)
        yield
        return
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def ask_others(
    group: WorkerGroup, timeout_s: float = TIMEOUT_S
) -> dict[int, list[Metric] | None]:
    """The metrics of the other workers by their number; None of one that does not answer."""
    found = await asyncio.gather(
        *(_ask(group.socket(number), timeout_s) for number in group.others)
    )
    return dict(zip(group.others, found, strict=True))


async def _ask(path: Path, timeout_s: float) -> list[Metric] | None:
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path)
            with contextlib.closing(writer):
                return decode(await reader.read())
    except (OSError, ValueError):  # TimeoutError is an OSError
        return None


def encode(families: Iterable[Metric]) -> bytes:
    return orjson.dumps(
        [
            (
                *(family.name, family.documentation, family.type),
                [(sample.name, sample.labels, sample.value) for sample in family.samples],
            )
            for family in families
        ]
    )


def decode(data: bytes) -> list[Metric]:
    families = []
    for name, documentation, kind, samples in orjson.loads(data):
        family = Metric(name, documentation, kind)
        for sample in samples:
            family.add_sample(*sample)
        families.append(family)
    return families


def merge(by_worker: dict[int, Sequence[Metric]]) -> list[Metric]:
    """One family of each name, with the samples of all workers, which the label tells apart."""
    merged: dict[str, Metric] = {}
    for number, families in by_worker.items():
        for each in families:
            family = merged.setdefault(each.name, Metric(each.name, each.documentation, each.type))
            for sample in each.samples:
                labels = {**sample.labels, "worker": str(number)}
                family.add_sample(sample.name, labels, sample.value)
    return list(merged.values())
