"""Groups parsed records into batches."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.indexes.records import NO_COUNTS, WriteCounts
from service.ingest.reading import START, Position, ReadStopped
from service.ingest.record import Item, RecordError

MAX_BYTES = 1_500_000
MAX_ERRORS = 1_000  # bounds the memory for a file without a valid record


@dataclass(slots=True)
class Batch:
    """Records to write in one call, with the location of each. They have one namespace.

    `end` counts the items up to the end of this batch, `after` is the position there. `written`,
    `counts` and `is_done` are set when it was written; then `errors` has the refused records, too.
    """

    end: int = 0
    after: Position = START
    records: list[Mapping[str, Any]] = field(default_factory=list)
    locations: list[tuple[str, int | None]] = field(default_factory=list)
    errors: list[RecordError] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    namespace: str | None = None
    size: int = 0
    written: int = 0
    counts: WriteCounts = NO_COUNTS
    is_done: bool = False


def batches(
    items: Iterable[Item],
    max_records: int,
    skip: int = 0,
    *,
    max_bytes: int = MAX_BYTES,
    until_error: bool = False,
) -> Generator[Batch]:
    """Yield the items after the first `skip` as batches.

    No batch has an id twice: of two records with one id the later must win, which a backend does
    not promise within a call. With `until_error`, the first error ends the stream, in a batch of
    its own. If reading fails, the records before are yielded first.
    """
    batch = Batch()
    failure: Exception | None = None
    try:
        for number, item in enumerate(items, 1):
            if number <= skip:
                batch.end = number
                continue
            if isinstance(item, RecordError):
                if until_error and batch.records:
                    yield batch
                    batch = Batch()
                batch.errors.append(item)
            else:
                id = item.fields["_id"]
                if batch.records and (
                    id in batch.ids
                    or batch.size + item.size > max_bytes
                    or batch.namespace != item.namespace
                ):
                    yield batch
                    batch = Batch()
                batch.namespace = item.namespace
                batch.records.append(item.fields)
                batch.locations.append((item.where, item.line))
                batch.ids.add(id)
                batch.size += item.size
            batch.end, batch.after = number, item.after
            if until_error and batch.errors:
                break
            if len(batch.records) >= max_records or len(batch.errors) >= MAX_ERRORS:
                yield batch
                batch = Batch(number, item.after)
    except ReadStopped:
        return
    except Exception as exc:  # raised below
        failure = exc
    if batch.records or batch.errors:
        yield batch
    if failure is not None:
        raise failure
