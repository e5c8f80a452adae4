"""What a client hands out, as types. They know nothing of how they came.

Members that a newer service adds are left out here, and kept in `raw` where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

Mode = Literal["semantic", "lexical", "cascading"]
Record = dict[str, Any]
ENDED = ("succeeded", "failed", "cancelled")


class Asked(NamedTuple):
    """What has to be remembered of a search to read its answers and to ask for the next page."""

    mode: Mode
    explain: bool = False
    highlight: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One record that was found. `fields` has what was asked for of it: `result["title"]`."""

    id: str
    score: float
    fields: Mapping[str, Any]
    found_by: tuple[str, ...] = ()  # cascading retrieval: the legs
    highlights: tuple[tuple[int, int], ...] = ()  # in the text: from which character to which
    explain: Mapping[str, Any] | None = None

    @property
    def text(self) -> str | None:
        """The record's text, where it was asked for."""
        return self.fields.get("chunk_text")

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(frozen=True, slots=True)
class Stage:
    """What became of one stage of a search."""

    stage: str
    status: str
    ms: float
    candidates: int = 0
    usage: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    attempts: int = 1
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of each stage, and which are missing from the answer."""

    ms: float
    missing: tuple[str, ...]
    stages: tuple[Stage, ...]
    cache: str = "off"
    age_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The results, best first. `degraded` says that a stage is missing; the receipt says which."""

    results: tuple[Result, ...]
    degraded: bool
    cursor: str | None
    receipt: Receipt
    asked: Asked
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Move:
    """A record whose rank changed since the event before; None is: not among the results."""

    id: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class SearchEvent:
    """How far a search has come: `leg` (which one), `fused`, `reranked`, or `done`."""

    stage: str
    results: tuple[Result, ...]
    moved: tuple[Move, ...] = ()
    leg: str | None = None
    answer: Answer | None = None  # with `done`


@dataclass(frozen=True, slots=True)
class Failure:
    """One record that was not written. `index` is its place in what was given."""

    index: int
    id: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Written:
    """How many records every index took, and those that it did not."""

    written: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class IdPage:
    """Some ids, in order; the cursor leads on, if there are more."""

    ids: tuple[str, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class NamespaceStats:
    """One namespace of an index."""

    records: int


@dataclass(frozen=True, slots=True)
class IndexStats:
    """One index."""

    records: int
    dimension: int | None
    metric: str | None
    namespaces: dict[str, NamespaceStats]


@dataclass(frozen=True, slots=True)
class Stats:
    """How much is in each index."""

    backend: str
    indexes: dict[str, IndexStats]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether searches would be answered just now; per index `ok`, or what is wrong."""

    status: str
    indexes: dict[str, str]

    @property
    def ready(self) -> bool:
        return self.status == "ready"


@dataclass(frozen=True, slots=True)
class LineError:
    """What could not be imported: the line on which it begins, and why."""

    line: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Job:
    """One moment of an import: queued, running, succeeded, failed or cancelled."""

    id: str
    status: str
    written: int
    failed: int
    errors: tuple[LineError, ...]  # the first of them
    namespace: str | None = None
    name: str | None = None
    format: str | None = None
    on_error: str | None = None
    bytes: int | None = None
    bytes_read: int | None = None
    progress: float | None = None  # from 0 to 1
    retries: int = 0
    rate: float | None = None  # records a second
    eta_s: float | None = None
    detail: str | None = None  # why it failed
    revision: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class ImportPage:
    """Some imports, newest first; the cursor leads on, if there are more."""

    imports: tuple[Job, ...]
    cursor: str | None
