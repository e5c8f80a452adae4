"""Opens Pinecone indexes: resolves names, detects dialects, makes lanes of `pinecone.AsyncIndex`.

Errors here happen at start-up, and name the setting to correct.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

from pinecone import AsyncIndex, AsyncPinecone
from pinecone.errors import ForbiddenError, NotFoundError, PineconeError, UnauthorizedError
from pinecone.models.indexes.index import IndexModel
from pinecone.models.indexes.schema import StringField

from service.errors import RequestError, StartupFailed, UpstreamKeyRejected
from service.indexes.dialect import Dialect
from service.indexes.documents_dialect import DocumentsDialect, SparseClause
from service.indexes.index import Kind
from service.indexes.pinecone_index import ping
from service.indexes.pool import LanePool
from service.indexes.port import AsyncIndexPort
from service.indexes.records_dialect import RecordsDialect
from service.indexes.transport import pooled_http_client

SOURCE_TAG = "cascade"

OpenLane = Callable[[str, str, int], AsyncIndexPort]


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """The settings of one index: a host or a name, and a dialect or `auto`."""

    kind: Kind
    host: str | None
    name: str | None
    dialect: Literal["auto", "records", "documents"]
    field: str | None
    text_field: str
    sparse_clause: SparseClause

    @property
    def setting(self) -> str:
        """The name of the setting that identifies this index, for error messages."""
        return f"PINECONE_{self.kind.upper()}_INDEX" + ("" if self.name else "_HOST")


def open_lane(host: str, api_key: str, connections: int) -> AsyncIndexPort:
    """Make a client of one index; it connects on the first call."""
    index = AsyncIndex(host=host, api_key=api_key, source_tag=SOURCE_TAG)
    index._http = pooled_http_client(index._http, connections)
    return index


def open_pool(
    spec: IndexSpec, host: str, api_key: str, lanes: int, calls: int, open_lane: OpenLane
) -> LanePool[AsyncIndexPort]:
    """Make the pool of one index; its lanes connect on the first call."""
    try:
        opener = partial(open_lane, host, api_key, calls)
        return LanePool[AsyncIndexPort](f"the {spec.kind} index", opener, lanes=lanes, calls=calls)
    except PineconeError as exc:
        raise StartupFailed(f"{_setting_at_fault(exc, spec)}: {exc}") from exc


async def check(pool: LanePool[AsyncIndexPort], spec: IndexSpec, host: str) -> None:
    """Ping every lane at start-up; a failure names the setting to correct."""
    try:
        await pool.ping(ping)
    except UpstreamKeyRejected as exc:
        raise StartupFailed(
            f"PINECONE_API_KEY: the index at {host} rejected the key; "
            "check the key and that it belongs to the index's project"
        ) from exc
    except RequestError as exc:
        raise StartupFailed(
            f"{spec.setting}: the index at {host} does not answer ({exc.code}); check the setting"
        ) from exc


async def resolve(spec: IndexSpec, control: AsyncPinecone) -> tuple[str, Dialect]:
    """Return the host and the dialect of an index; calls Pinecone only for what is not set."""
    if spec.name is None:
        assert spec.host, "an index has a host or a name"  # noqa: S101 - Settings sees to it
        return spec.host, _dialect_as_set(spec)
    try:
        model = await control.indexes.describe(spec.name)
    except NotFoundError as exc:
        raise StartupFailed(f"{spec.setting}: there is no index named {spec.name!r}") from exc
    except (UnauthorizedError, ForbiddenError) as exc:
        raise StartupFailed(
            f"PINECONE_API_KEY: Pinecone rejected the key when asked for {spec.setting}"
        ) from exc
    except (PineconeError, LookupError, TypeError, ValueError) as exc:
        raise StartupFailed(
            f"{spec.setting}: the host of {spec.name!r} could not be looked up ({exc}); "
            "check PINECONE_CONTROLLER_HOST and the network"
        ) from exc
    if not model.host:
        raise StartupFailed(
            f"{spec.setting}: the index {spec.name!r} is not ready yet ({model.status.state})"
        )
    return model.host, _dialect_of(model, spec)


def _dialect_as_set(spec: IndexSpec) -> Dialect:
    if spec.dialect != "documents":
        return RecordsDialect()
    field = spec.field or spec.text_field
    return DocumentsDialect("embed" if spec.kind == "dense" else spec.sparse_clause, field)


def _dialect_of(model: IndexModel, spec: IndexSpec) -> Dialect:
    """The dialect that fits the schema of the index, unless a setting chooses one."""
    if spec.dialect != "auto":
        return _dialect_as_set(spec)
    strings = {
        name: field for name, field in model.schema.fields.items() if isinstance(field, StringField)
    }
    if spec.kind == "dense":
        found = [(name, "embed") for name, field in strings.items() if field.embed]
    else:
        found = [(name, "sparse_embed") for name, field in strings.items() if field.sparse_embed]
        found += [(name, "text") for name, field in strings.items() if field.full_text_search]
    if not found:
        return RecordsDialect()
    wanted = [pair for pair in found if pair[0] == spec.field] if spec.field else found
    if not wanted:
        fields = sorted({name for name, _ in found})
        raise StartupFailed(
            f"PINECONE_{spec.kind.upper()}_FIELD: {spec.field!r} is not a searchable field of "
            f"{model.name!r}; use one of {fields}"
        )
    name, clause = wanted[0]
    return DocumentsDialect(cast("SparseClause", clause), name)


def _setting_at_fault(exc: PineconeError, spec: IndexSpec) -> str:
    return "PINECONE_API_KEY" if "key" in str(exc).lower() else spec.setting
