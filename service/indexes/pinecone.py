"""Opens Pinecone indexes: resolves names, chooses the API, makes lanes of `pinecone.AsyncIndex`.

Errors here happen at start-up, and name the setting to correct.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

from pinecone import AsyncIndex, AsyncPinecone
from pinecone.errors import ForbiddenError, NotFoundError, PineconeError, UnauthorizedError
from pinecone.models.indexes.index import IndexModel
from pinecone.models.indexes.schema import StringField

from service.errors import RequestError, StartupFailed, UpstreamKeyRejected
from service.indexes.documents_index import DocumentsIndex, SearchField, SparseClause
from service.indexes.index import Kind
from service.indexes.pinecone_index import ping
from service.indexes.pool import LanePool, closing
from service.indexes.records_index import RecordsIndex
from service.indexes.transport import MakeTransport, PoolTransport, pooled_http_client
from service.settings import Settings

SOURCE_TAG = "cascade"
NO_TIMEOUT = math.inf  # seconds, of a client

OpenLane = Callable[[str, str, int], AsyncIndex]


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """The settings of one index: a host or a name, and an API or `auto`."""

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


def open_lane(
    host: str, api_key: str, connections: int, make_transport: MakeTransport = PoolTransport
) -> AsyncIndex:
    """Make a client of one index; it connects on the first call. Its callers apply deadlines."""
    index = AsyncIndex(host=host, api_key=api_key, timeout=NO_TIMEOUT, source_tag=SOURCE_TAG)
    index._http = pooled_http_client(index._http, connections, make_transport)
    return index


@contextlib.asynccontextmanager
async def opened_index(
    kind: Kind, settings: Settings, api_key: str, open_lane: OpenLane
) -> AsyncIterator[RecordsIndex | DocumentsIndex]:
    """Resolve, open and ping an index; close it at the end of the block."""
    spec = _spec(settings, kind)
    async with AsyncPinecone(api_key, host=settings.pinecone_controller_host) as control:
        host, field = await _resolve(spec, control)
    try:
        calls = settings.pinecone_lane_calls
        opener = partial(open_lane, host, api_key, calls)
        pool = LanePool(f"the {kind} index", opener, lanes=settings.pinecone_lanes, calls=calls)
    except PineconeError as exc:
        raise StartupFailed(f"{_setting_at_fault(exc, spec)}: {exc}") from exc
    async with closing(pool):
        await _check(pool, spec, host)
        if field is None:
            yield RecordsIndex(kind, host, pool)
        else:
            yield DocumentsIndex(kind, host, pool, field)


def _spec(settings: Settings, kind: Kind) -> IndexSpec:
    dense = kind == "dense"
    return IndexSpec(
        kind=kind,
        host=settings.pinecone_dense_index_host if dense else settings.pinecone_sparse_index_host,
        name=settings.pinecone_dense_index if dense else settings.pinecone_sparse_index,
        dialect=settings.pinecone_dialect,
        field=settings.pinecone_dense_field if dense else settings.pinecone_sparse_field,
        text_field=settings.pinecone_text_field,
        sparse_clause=settings.pinecone_sparse_clause,
    )


async def _check(pool: LanePool[AsyncIndex], spec: IndexSpec, host: str) -> None:
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


async def _resolve(spec: IndexSpec, control: AsyncPinecone) -> tuple[str, SearchField | None]:
    """Return the host of an index, and the field to search unless it has the records API.

    Calls Pinecone only for what is not set.
    """
    if spec.name is None:
        assert spec.host, "an index has a host or a name"  # noqa: S101 - Settings sees to it
        return spec.host, _field_as_set(spec)
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
    return model.host, _field_of(model, spec)


def _field_as_set(spec: IndexSpec) -> SearchField | None:
    if spec.dialect != "documents":
        return None
    clause = "embed" if spec.kind == "dense" else spec.sparse_clause
    return SearchField(spec.field or spec.text_field, clause)


def _field_of(model: IndexModel, spec: IndexSpec) -> SearchField | None:
    """The field that the schema of the index makes searchable, unless the API is set."""
    if spec.dialect != "auto":
        return _field_as_set(spec)
    strings = {
        name: field for name, field in model.schema.fields.items() if isinstance(field, StringField)
    }
    if spec.kind == "dense":
        found = [(name, "embed") for name, field in strings.items() if field.embed]
    else:
        found = [(name, "sparse_embed") for name, field in strings.items() if field.sparse_embed]
        found += [(name, "text") for name, field in strings.items() if field.full_text_search]
    if not found:
        return None
    wanted = [pair for pair in found if pair[0] == spec.field] if spec.field else found
    if not wanted:
        fields = sorted({name for name, _ in found})
        raise StartupFailed(
            f"PINECONE_{spec.kind.upper()}_FIELD: {spec.field!r} is not a searchable field of "
            f"{model.name!r}; use one of {fields}"
        )
    name, clause = wanted[0]
    return SearchField(name, cast("SparseClause", clause))


def _setting_at_fault(exc: PineconeError, spec: IndexSpec) -> str:
    return "PINECONE_API_KEY" if "key" in str(exc).lower() else spec.setting
