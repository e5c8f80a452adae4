"""Records of several tenants, and the callers that see parts of them.

Each record has marks: words that occur nowhere else. A response with a mark that its caller may not
see is a leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

READ = ("records.read", "export", "search", "stats")
WRITE = ("imports", "records.write")
ALL = (*READ, *WRITE)

NAMESPACES = ("shop-a", "shop-b", "mixed", "__default__")
OWN = {"tenant": {"$eq": "a"}}
VISIBLE_FIELDS = ("chunk_text", "price")
TEXT = "quiet desk lamp"  # of all records, so that every search finds them


@dataclass(frozen=True)
class Stored:
    """A record with a mark in its id and text, and another in its field `margin`."""

    namespace: str
    number: int
    tenant: str

    @property
    def mark(self) -> str:
        name = self.namespace.strip("_").replace("-", "")
        return f"mark{name}{self.tenant}{self.number}"

    @property
    def hidden_mark(self) -> str:
        return f"hidden{self.mark}"

    @property
    def id(self) -> str:
        return f"id-{self.mark}"

    @property
    def body(self) -> dict[str, Any]:
        return {
            "_id": self.id,
            "chunk_text": f"{TEXT} {self.mark}",
            "tenant": self.tenant,
            "price": self.number,
            "margin": self.hidden_mark,
        }


RECORDS = [
    Stored(namespace, number, tenant)
    for namespace in NAMESPACES
    for tenant in ("a", "b")
    for number in (1, 2)
]


@dataclass(frozen=True)
class Caller:
    """A key or a token; `signer` is the caller whose key signs the token.

    `namespaces` are those that it may use, and `tenants` and `prices` those of the records that it
    sees there. These are the expectation, written by hand, not taken from the rules.
    """

    name: str
    key: Mapping[str, Any] | None = None
    signer: str | None = None
    rules: Any = None
    namespaces: tuple[str, ...] = NAMESPACES
    actions: tuple[str, ...] = ALL
    tenants: tuple[str, ...] = ("a", "b")
    prices: tuple[int, ...] = (1, 2)
    fields: tuple[str, ...] | None = None
    is_authentic: bool = True
    sees_part: tuple[str, ...] = ()  # namespaces of which it sees only some records or fields
    extra: Mapping[str, Any] = field(default_factory=dict)

    def sees(self, record: Stored) -> bool:
        return (
            self.is_authentic
            and record.namespace in self.namespaces
            and record.tenant in self.tenants
            and record.number in self.prices
        )

    @property
    def filtered(self) -> set[str]:
        """The namespaces of which it sees only some records, so it may not know their number."""
        sees_all = len(self.tenants) * len(self.prices) == len(RECORDS) // len(NAMESPACES)
        return set() if sees_all else set(self.namespaces)

    def foreign_marks(self) -> Iterator[str]:
        """The marks that no response to the caller may have."""
        for record in RECORDS:
            if not self.sees(record):
                yield record.mark
            if not self.sees(record) or (self.fields is not None and "margin" not in self.fields):
                yield record.hidden_mark


def key(*actions: str, **rights: Any) -> dict[str, Any]:
    return {"name": "of a test", "actions": list(actions), **rights}


NOT_AUTHENTIC: dict[str, Any] = {"is_authentic": False, "namespaces": ()}
CALLERS = [
    Caller("everything", actions=(*ALL, "keys")),
    Caller("shop-a", key(*ALL, namespaces=["shop-a"]), namespaces=("shop-a",)),
    Caller("shop-*", key(*ALL, namespaces=["shop-*"]), namespaces=("shop-a", "shop-b")),
    Caller(
        "tenant a",
        key(*READ, namespaces=["mixed", "shop-b"], filter=OWN),
        namespaces=("mixed", "shop-b"),
        actions=READ,
        tenants=("a",),
        sees_part=("mixed", "shop-b"),
    ),
    Caller(
        "some fields",
        key(*READ, fields=list(VISIBLE_FIELDS)),
        actions=READ,
        fields=VISIBLE_FIELDS,
        sees_part=NAMESPACES,
    ),
    Caller("search only", key("search"), actions=("search",)),
    Caller("writer", key(*WRITE, namespaces=["shop-a"]), actions=WRITE, namespaces=("shop-a",)),
    Caller("keys only", key("keys"), actions=("keys",)),
    Caller("token shop-b", signer="everything", rules=["shop-b"], namespaces=("shop-b",)),
    Caller(
        "token of shop-*",
        signer="shop-*",
        rules={"shop-a": {"filter": {"price": {"$gte": 2}}}, "mixed": None},
        namespaces=("shop-a",),
        prices=(2,),
        sees_part=("shop-a",),
    ),
    Caller(
        "token of tenant a",
        signer="tenant a",
        rules={"*": {"filter": {"$or": [{"price": 1}, {"tenant": "b"}]}}},
        namespaces=("mixed", "shop-b"),
        actions=READ,
        tenants=("a",),
        prices=(1,),
        sees_part=("mixed", "shop-b"),
    ),
    Caller("token for more", signer="shop-a", rules=["shop-b", "mixed"], namespaces=()),
    Caller(
        "token of some fields",
        signer="some fields",
        rules=["mixed"],
        namespaces=("mixed",),
        actions=READ,
        fields=VISIBLE_FIELDS,
        sees_part=("mixed",),
    ),
    Caller(
        "expired token",
        signer="shop-a",
        rules=["shop-a"],
        extra={"exp": 1_000_000_000},
        **NOT_AUTHENTIC,
    ),
    Caller("token of a revoked key", signer="revoked", rules=["*"], **NOT_AUTHENTIC),
    Caller("forged token", signer="forger", rules=["*"], **NOT_AUTHENTIC),
    Caller("revoked", key(*ALL), **NOT_AUTHENTIC),
    Caller("unknown key", **NOT_AUTHENTIC),
    Caller("no key", **NOT_AUTHENTIC),
]
