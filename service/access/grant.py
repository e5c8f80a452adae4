"""`Grant`: what an authenticated caller may do. Each request and each WebSocket has one.

Every check of a right is a method of a grant. The views ask it for an action; searches and records
are narrowed where all protocols meet, in `SearchService` and `ScopedRecords`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from service.access.limits import Quota, Rate
from service.access.scope import Filter, Scope, all_of
from service.errors import Forbidden
from service.indexes.filters import conditions

Action = Literal["search", "records.read", "records.write", "imports", "export", "stats", "keys"]
ALL_ACTIONS: frozenset[Action] = frozenset(get_args(Action))


@dataclass(frozen=True, slots=True)
class Grant:
    """`tenant` separates cached answers, cursors and imports: grants with an equal one are equal.

    `expires_at` is in seconds since the epoch. `credential` is the digest of the key by which the
    caller was authenticated.
    """

    tenant: str = ""
    key_id: str = ""
    key_name: str = ""
    actions: frozenset[Action] = ALL_ACTIONS
    scopes: tuple[Scope, ...] = ()
    rate: Rate | None = None
    quota: Quota | None = None
    expires_at: float | None = None
    credential: bytes = field(default=b"", repr=False, compare=False)
    fields: frozenset[str] | None = field(init=False)
    """The fields that the caller may see; None for all."""

    def __post_init__(self) -> None:
        allowed = [scope.fields for scope in self.scopes if scope.fields is not None]
        fields = frozenset.intersection(*allowed) if allowed else None
        object.__setattr__(self, "fields", fields)

    @property
    def is_scoped(self) -> bool:
        """Whether some namespaces, records or fields are hidden from the caller."""
        return bool(self.scopes)

    def require(self, action: Action) -> None:
        if action not in self.actions:
            raise Forbidden(
                f"This key does not allow {action}; it allows {', '.join(sorted(self.actions))}"
            )

    @property
    def import_owner(self) -> str | None:
        """Whose imports the caller sees; None for those of everybody."""
        return self.tenant if self.is_scoped else None

    def allows_namespace(self, namespace: str) -> bool:
        return all(scope.allows(namespace) for scope in self.scopes)

    def require_namespace(self, namespace: str) -> None:
        if not self.allows_namespace(namespace):
            raise Forbidden(f"This key does not allow the namespace {namespace}")

    def filter(self, namespace: str) -> Filter | None:
        """The condition that the records of an allowed namespace have to match."""
        return all_of([each for scope in self.scopes for each in scope.filters(namespace)])

    def require_filter(self, filter: Filter | None) -> None:
        """Raise `Forbidden` for a condition on a hidden field: the answer would tell its value."""
        if self.fields is None or filter is None:
            return
        for name, _, _ in conditions(filter):
            if name not in self.fields:
                raise Forbidden("The filter names a field that this key does not allow")

    def allows_counting(self, namespace: str) -> bool:
        """Whether the caller sees all records of a namespace, and so may know their number."""
        return self.allows_namespace(namespace) and self.filter(namespace) is None

    def require_whole_records(self, namespace: str) -> None:
        """Raise `Forbidden` if some records or fields of the namespace are hidden.

        A write could replace a record that the caller can't see.
        """
        self.require_namespace(namespace)
        if self.fields is not None or self.filter(namespace) is not None:
            raise Forbidden(
                f"This key sees only a part of the namespace {namespace}, so it can't write there"
            )


UNRESTRICTED = Grant()
"""The grant of every caller of a service without keys."""
