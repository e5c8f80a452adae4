"""The limit on how many different fields the records of an index have.

Each field of a namespace takes 0.6 kB of memory as long as a record has it. A write claims its new
fields before it is stored, so that writes at the same time can't exceed the limit together, and
holds the claim until the filter view has the fields.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from service.embedded.pending_documents import PendingDocument
from service.embedded.views.filters import FilterView
from service.indexes.filters import shown
from service.indexes.limits import MAX_INDEX_FIELDS, MAX_NAMESPACE_FIELDS


class TooManyFields(ValueError):
    """A write has more new fields than the index has room for."""


class FieldLimit:
    """The fields of the filter view, and those that writes have claimed.

    `applied_seq` returns the position of the view; `wait_until_complete` waits while it is rebuilt.
    """

    def __init__(
        self,
        view: FilterView,
        applied_seq: Callable[[], int],
        wait_until_complete: Callable[[], None],
    ) -> None:
        self._view = view
        self._applied_seq = applied_seq
        self._wait_until_complete = wait_until_complete
        self._lock = threading.Lock()
        self._claims: set[FieldClaim] = set()

    def claim(self) -> FieldClaim:
        """A claim for one write, which is a context manager around it."""
        return FieldClaim(self)

    def take(self, claim: FieldClaim, namespace: str, documents: Sequence[PendingDocument]) -> None:
        """Claim the fields of `documents`, or raise `TooManyFields`. It may block."""
        if not self._new_fields(namespace, documents):
            return
        self._wait_until_complete()
        with self._lock:
            self._forget_applied()
            new = self._new_fields(namespace, documents)
            fields = {(namespace, name) for name in new}
            others = [each.fields for each in self._claims]
            inside, total = self._view.field_counts(namespace, fields.union(*others))
            if new:
                _check(inside, MAX_NAMESPACE_FIELDS, "of a namespace", new)
                _check(total, MAX_INDEX_FIELDS, "of all namespaces", new)
            claim.fields = fields
            if not claim.is_over:
                self._claims.add(claim)

    def release(self, claim: FieldClaim) -> None:
        with self._lock:
            self._claims.discard(claim)

    def _new_fields(self, namespace: str, documents: Sequence[PendingDocument]) -> set[str]:
        names = set().union(*(each.fields for each in documents))
        return {name for name in names if not self._view.has_field(namespace, name)}

    def _forget_applied(self) -> None:
        applied = self._applied_seq()
        self._claims = {each for each in self._claims if each.seq is None or each.seq > applied}


def _check(count: int, limit: int, whose: str, new: set[str]) -> None:
    if count > limit:
        raise TooManyFields(
            f"the records {whose} have at most {limit:,} different fields, and with "
            f"{shown(min(new))} and the other new ones there would be {count:,}: keep what is not "
            "filtered by in one field"
        )


class FieldClaim:
    """The fields that one write has claimed. `seq` is its position in the log, once committed."""

    def __init__(self, limit: FieldLimit) -> None:
        self.fields: set[tuple[str, str]] = set()
        self.seq: int | None = None
        self.is_over = False
        self._is_submitted = False
        self._limit = limit

    def take(self, namespace: str, documents: Sequence[PendingDocument]) -> None:
        """Claim the fields of `documents`, or raise `TooManyFields`. It may block."""
        self._limit.take(self, namespace, documents)

    def submitted(self) -> None:
        """From now on the write happens, or fails, whether or not its caller waits for it."""
        self._is_submitted = True

    def ended(self, seq: int | None) -> None:
        """The write was committed at `seq`, or it failed."""
        self.seq = seq
        if seq is None:
            self._limit.release(self)

    def __enter__(self) -> FieldClaim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_over = True
        if not self._is_submitted:
            self._limit.release(self)
