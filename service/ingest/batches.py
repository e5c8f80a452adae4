"""Items gathered into batches. Knows nothing of who takes them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.ingest.items import Fault, Item
from service.ingest.reading import START, Spot, Stopped

MAX_BYTES = 1_500_000
MAX_FAULTS = 1_000  # a file of nothing but faults must not be held in memory either


@dataclass(slots=True)
class Batch:
    """Records to write together, and where each of them stood.

    `end` is how many items of the stream have been seen with it, `after` the spot they reach to.
    """

    end: int = 0
    after: Spot = START
    records: list[Mapping[str, Any]] = field(default_factory=list)
    places: list[tuple[str, int | None]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    size: int = 0


def batches(
    items: Iterable[Item],
    max_records: int,
    skip: int = 0,
    *,
    max_bytes: int = MAX_BYTES,
    until_fault: bool = False,
) -> Generator[Batch]:
    """Batches of what comes after the first `skip` items. No id is in one batch twice.

    With `until_fault`, the first fault is the last thing that comes, in a batch of its own.

    Of two records with one id the later one must win, and a backend need not promise that inside
    of a batch. What was read before something can't be read comes, too, before the error does.
    """
    batch = Batch()
    trouble: Exception | None = None
    try:
        for number, item in enumerate(items, 1):
            if number <= skip:
                batch.end = number
                continue
            if isinstance(item, Fault):
                if until_fault and batch.records:
                    yield batch
                    batch = Batch()
                batch.faults.append(item)
            else:
                id = item.fields["_id"]
                if id in batch.ids or (batch.records and batch.size + item.size > max_bytes):
                    yield batch
                    batch = Batch()
                batch.records.append(item.fields)
                batch.places.append((item.where, item.line))
                batch.ids.add(id)
                batch.size += item.size
            batch.end, batch.after = number, item.after
            if until_fault and batch.faults:
                break
            if len(batch.records) >= max_records or len(batch.faults) >= MAX_FAULTS:
                yield batch
                batch = Batch(number, item.after)
    except Stopped:
        return
    except Exception as exc:  # whatever it is: it is raised below
        trouble = exc
    if batch.records or batch.faults:
        yield batch
    if trouble is not None:
        raise trouble
