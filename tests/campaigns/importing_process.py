"""The process that `imports.py` kills: imports into the embedded engine.

Prints `ready` when it is open. Each line on stdin is the path of a file to import; the response is
the id of its job.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.embedded.client import EmbeddedAsyncIndex, opened_client
from service.errors import JobsUnavailable
from service.ingest.target import WriteResult
from service.jobs.job import Plan
from service.jobs.jobs import Jobs
from service.lifecycle import Lifecycle
from tests.campaigns.model import EMBEDDER
from tests.campaigns.writing_process import SCHEMA, tell

SPACE = "imported"


class Index:
    """The engine as the target of imports."""

    text_field = "body"
    batch_size = 50

    def __init__(self, index: EmbeddedAsyncIndex) -> None:
        self._index = index

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        await self._index.documents.upsert(namespace=namespace, documents=records)
        return WriteResult(len(records))


async def until_open(jobs: Jobs) -> None:
    """Wait for the database, which is opened in the background."""
    while True:
        with contextlib.suppress(JobsUnavailable):
            await jobs.list(1, None)
            return


async def main(folder: Path, url: str | None) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with opened_client(folder / "engine", "records", SCHEMA, EMBEDDER) as index:
        jobs = Jobs(
            folder / "imports",
            url,
            Index(index),
            Lifecycle(),
            max_bytes=10**9,
            batches_at_once=4,
        )
        async with jobs.opened():
            await until_open(jobs)
            tell("ready")
            while line := (await lines.readline()).decode().strip():
                data = await asyncio.to_thread(Path(line).read_bytes)
                plan = Plan(SPACE, line, "ndjson")
                async with jobs.receive(plan) as upload:
                    await upload.write(data)
                    tell((await upload.commit()).id)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
