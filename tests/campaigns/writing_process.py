"""The process that `kill.py` kills: it writes records, and prints what was acknowledged.

Each record is written by one task only, and sometimes updated or deleted, so that the order of the
printed lines is the order of the writes.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from service.embedded.client import EmbeddedAsyncIndex, opened_client
from service.embedded.schema import Schema, TextField
from tests.campaigns.model import EMBEDDER, WORDS

IN_FLIGHT, BATCH = 4, 5
SPACE = "__default__"
SCHEMA = Schema({"body": TextField(embed=True, full_text=True)})


def document(id: str, version: int) -> dict[str, Any]:
    """A document with its version in text and field, so that both can be compared."""
    word = WORDS[(int(id) + version) % len(WORDS)]
    return {"_id": id, "body": f"record {word} v{version}", "version": version}


def tell(line: str) -> None:
    """Write a line in one system call, which is atomic for short lines."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


async def load(index: EmbeddedAsyncIndex, rng: random.Random, first: int, records: int) -> None:
    """Write a range of records, again and again, until the process is killed."""
    version = 1
    while True:
        for start in range(first, first + records, BATCH):
            ids = [str(number) for number in range(start, min(start + BATCH, first + records))]
            await _touch(index, rng, ids, version)
        version += 1


async def _touch(
    index: EmbeddedAsyncIndex, rng: random.Random, ids: list[str], version: int
) -> None:
    chance = rng.random()
    versions = " ".join(f"{id}={version}" for id in ids)
    tell(f"asked {versions}")
    if chance < 0.75:
        given = [document(id, version) for id in ids]
        await index.documents.upsert(namespace=SPACE, documents=given)
        tell(f"written {versions}")
    elif chance < 0.9:
        given = [document(id, version) for id in ids]
        found = await index.documents.fetch(namespace=SPACE, ids=ids)
        there = [each for each in given if each["_id"] in found.documents]
        if there:
            await index.documents.update(namespace=SPACE, documents=there)
            tell("written " + " ".join(f"{each['_id']}={version}" for each in there))
    else:
        tell("asked " + " ".join(f"{id}=0" for id in ids))
        await index.documents.delete(namespace=SPACE, ids=ids)
        tell("written " + " ".join(f"{id}=0" for id in ids))


async def main(folder: Path, records: int, seed: int) -> None:
    began = time.monotonic()
    async with opened_client(folder, "records", SCHEMA, EMBEDDER) as index:
        tell(f"opened {time.monotonic() - began:.3f}")
        rng = random.Random(seed)
        share = records // IN_FLIGHT
        async with asyncio.TaskGroup() as tasks:
            for lane in range(IN_FLIGHT):
                tasks.create_task(load(index, rng, lane * share, share))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
