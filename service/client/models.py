"""The types that the client returns.

Members that a newer service adds are missing here; `Answer.raw` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

Mode = Literal["semantic", "lexical", "cascading"]
Record = dict[str, Any]
ENDED = ("succeeded", "failed", "cancelled")


class SearchContext(NamedTuple):
    """What the client needs from a search to parse its response and to request the next page."""

    mode: Mode
    explain: bool = False
    highlight: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One record that was found. `result["title"]` is short for `result.fields["title"]`."""

    id: str
    score: float
    fields: Mapping[str, Any]
    found_by: tuple[str, ...] = ()  # cascading retrieval: the names of the legs
    highlights: tuple[tuple[int, int], ...] = ()  # (begin, end), by which `text` is sliced
    explain: Mapping[str, Any] | None = None

    @property
    def text(self) -> str | None:
        """The record's text, if the search returns that field."""
        return self.fields.get("chunk_text")

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(frozen=True, slots=True)
class Stage:
    """The outcome of one stage of a search."""

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
    """The outcome of each stage, and the stages that are missing from the results."""

    ms: float
    missing: tuple[str, ...]
    stages: tuple[Stage, ...]
    cache: str = "off"
    age_ms: float | None = None
    note: str | None = None  # such as: the namespace has no records


@dataclass(frozen=True, slots=True)
class Answer:
    """One page of results, best first. If `degraded`, a stage failed; the receipt has details."""

    results: tuple[Result, ...]
    degraded: bool
    cursor: str | None
    receipt: Receipt
    context: SearchContext
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Move:
    """A rank that changed since the previous event. None: the record is not among the results."""

    id: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class SearchEvent:
    """The results after one stage of a search: `leg`, `fused`, `reranked` or `done`."""

    stage: str
    results: tuple[Result, ...]
    moved: tuple[Move, ...] = ()
    leg: str | None = None
    answer: Answer | None = None  # with `done`


@dataclass(frozen=True, slots=True)
class Failure:
    """One record that was not written. `index` is its position in the request."""

    index: int
    id: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Written:
    """The number of records that were written to every index, and the failures.

    `created`, `replaced` and `unchanged` divide `written`; None if the service does not know.
    """

    written: int
    failures: tuple[Failure, ...]
    created: int | None = None
    replaced: int | None = None
    unchanged: int | None = None


@dataclass(frozen=True, slots=True)
class IdPage:
    """A page of ids, in order. `cursor` is None on the last page."""

    ids: tuple[str, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class NamespaceStats:
    """The size of one namespace."""

    records: int


@dataclass(frozen=True, slots=True)
class IndexStats:
    """The size of one index."""

    records: int
    dimension: int | None
    metric: str | None
    namespaces: dict[str, NamespaceStats]


@dataclass(frozen=True, slots=True)
class Stats:
    """The sizes of all indexes."""

    backend: str
    indexes: dict[str, IndexStats]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service can answer searches. `indexes` has `ok` or an error for each index."""

    status: str
    indexes: dict[str, str]

    @property
    def ready(self) -> bool:
        return self.status == "ready"


@dataclass(frozen=True, slots=True)
class LineError:
    """A record that was not imported: its first line, and the reason."""

    line: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Job:
    """The state of an import: queued, running, succeeded, failed or cancelled."""

    id: str
    status: str
    written: int
    failed: int
    errors: tuple[LineError, ...]  # the first ones; `failed` counts all
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
    notes: tuple[str, ...] = ()  # how the file is read, where that was not certain
    detail: str | None = None  # the reason, if it failed
    revision: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    created: int | None = None  # this and the next two divide `written`, if that is known
    replaced: int | None = None
    unchanged: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the service. `key` is its text, which only its creation and a rotation return.

    `raw` has its rights.
    """

    id: str
    name: str
    actions: tuple[str, ...]
    expires_at: datetime | None = None
    created_at: datetime | None = None
    revoked_at: datetime | None = None
    key: str | None = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ImportPage:
    """A page of imports, newest first. `cursor` is None on the last page."""

    imports: tuple[Job, ...]
    cursor: str | None
