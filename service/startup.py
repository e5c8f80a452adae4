"""The log line that says what has started: the backend and its records, the namespace, the keys."""

from __future__ import annotations

import logging
from pathlib import Path

from service.access.grant import UNRESTRICTED
from service.access.policy import is_loopback
from service.backends.search_backend import SearchBackend
from service.errors import RequestError
from service.indexes.index import IndexStats
from service.retrieval.deadline import Deadline
from service.settings import Settings
from service.version import VERSION

logger = logging.getLogger(__name__)

COUNT_TIMEOUT_S = 2.0  # the service is not ready before


async def log_start(settings: Settings, backend: SearchBackend, *, requires_key: bool) -> None:
    """Log one line. An index that does not count its records in time does not delay the start."""
    try:
        stats = await backend.stats(UNRESTRICTED, Deadline(COUNT_TIMEOUT_S))
    except RequestError as exc:
        counted, records = f"an unknown number of records ({exc.code})", None
    else:
        counted = _count(stats, settings.pinecone_namespace)
        records = {name: each.records for name, each in stats.items()}
    fields = {
        "backend": settings.backend,
        "data_dir": _data_dir(settings),
        "namespace": settings.pinecone_namespace,
        "records": records,
        "api_keys": len(settings.service_keys),
    }
    where = _where(settings, backend)
    message = (
        f"Cascade {VERSION}: {where} with {counted}; {_keys(settings, requires_key=requires_key)}"
    )
    logger.info("%s", message, extra=fields)


def _where(settings: Settings, backend: SearchBackend) -> str:
    if settings.backend == "embedded":
        return f"the embedded engine in {_data_dir(settings)}"
    hosts = " and ".join(dict.fromkeys(backend.location.split()))
    return f"Pinecone at {hosts} (imports in {_data_dir(settings)})"


def _data_dir(settings: Settings) -> str:
    return str(Path(settings.data_dir).absolute())


def _count(stats: dict[str, IndexStats], namespace: str) -> str:
    """The records of each index; in one figure where the indexes agree."""
    totals = {name: each.records for name, each in stats.items()}
    inside = [each.namespaces.get(namespace, 0) for each in stats.values()]
    if not any(totals.values()):
        return "no records"
    if len(set(totals.values())) == len(set(inside)) == 1:
        (total, *_), (count, *_) = totals.values(), inside
        return f"{total:,} records, {count:,} of them in the namespace {namespace}"
    figures = [
        f"{name} {totals[name]:,} records ({count:,} in the namespace {namespace})"
        for name, count in zip(totals, inside, strict=True)
    ]
    return " and ".join(figures)


def _keys(settings: Settings, *, requires_key: bool) -> str:
    if count := len(settings.service_keys):
        return f"{count} API key{'' if count == 1 else 's'}"
    if requires_key:
        return "API keys of `cascade keys`"
    is_local = is_loopback(settings.host) and not settings.trusted_proxy_hops
    return f"no API keys, so {'only this machine' if is_local else 'nobody'} may write"
