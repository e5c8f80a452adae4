"""Records cut into the calls that an index takes."""

from __future__ import annotations

from collections.abc import Iterable

from service.records.checking import Checked


def split(records: Iterable[Checked], max_records: int, max_bytes: int) -> list[list[Checked]]:
    """Batches in the given order, each of at most so many records and bytes.

    A record that is too large on its own stands alone: the index is asked, and says so.
    """
    batches: list[list[Checked]] = []
    size = 0
    for record in records:
        full = batches and (len(batches[-1]) == max_records or size + record.size > max_bytes)
        if full or not batches:
            batches.append([])
            size = 0
        batches[-1].append(record)
        size += record.size
    return batches


def halves(batch: list[Checked]) -> list[list[Checked]]:
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]]
