"""Deletions, which succeed on a full disk, too.

A deletion takes space: the log keeps what was deleted, until it is trimmed. In parts, each one uses
the space of the last one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence

from pyroaring import BitMap

from service.disk_space import is_disk_full
from service.embedded.storage.operations import DeleteVersion, Operation

DELETE_PART = 100  # documents, of up to 40 kB


async def delete_with_little_space(
    operations: Sequence[Operation],
    write: Callable[[Sequence[Operation]], Awaitable[int]],
    select: Callable[[], Awaitable[BitMap]],
) -> int:
    """Delete all at once; where the disk has too little space for that, in parts first.

    `write` returns how many documents were deleted, `select` the numbers of those to delete.
    """
    try:
        return await write(operations)
    except sqlite3.Error as exc:
        if not is_disk_full(exc):
            raise
    deleted, docnos = 0, list(await select())
    for start in range(0, len(docnos), DELETE_PART):
        part = docnos[start : start + DELETE_PART]
        deleted += await write([DeleteVersion(docno) for docno in part])
    return deleted + await write(operations)
