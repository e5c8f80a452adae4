"""The parts of the service behind its routes: created from the settings, and opened in order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from service.access.limiting import choose_limits
from service.access.limiting.account import Limits
from service.access.policy import AccessPolicy
from service.admission.controller import AdmissionController
from service.audit import AuditLog
from service.backends import choose_backend
from service.backends.search_backend import SearchBackend
from service.caching import choose_store
from service.caching.answer_cache import AnswerCache
from service.caching.store import CacheStore
from service.indexes.pinecone import OpenLane
from service.indexes.traced_transport import TracedTransport
from service.indexes.transport import PoolTransport
from service.jobs.jobs import Jobs
from service.keys.keys import Keys, keys_file
from service.lifecycle import Lifecycle
from service.records.records import ImportTarget
from service.retrieval.query import StageEvent
from service.retrieval.receipt import Receipt
from service.settings import Settings
from service.tracing.setup import choose_tracing, opened_tracing
from service.web.metrics.metrics import Metrics
from service.web.search.cursors import Cursors
from service.web.search.highlighting import ResultHighlighter
from service.web.search.parsing import RequestParser
from service.web.search.rendering import AnswerRenderer
from service.web.search.service import SearchService
from service.web.tracing.searches import TracedSearchService

if TYPE_CHECKING:
    from service.tracing.spans import Tracing

Answers = AnswerCache[StageEvent, Receipt]


@dataclass(frozen=True, slots=True)
class Components:
    """Each gets the others that it needs as arguments."""

    tracing: Tracing | None
    audit: AuditLog
    keys: Keys
    policy: AccessPolicy
    store: CacheStore
    backend: SearchBackend
    answers: Answers
    limits: Limits
    admission: AdmissionController
    jobs: Jobs
    metrics: Metrics
    parser: RequestParser
    searches: SearchService

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open them, and close them in reverse order."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.admission.close)
            await stack.enter_async_context(opened_tracing(self.tracing))
            stack.enter_context(self.audit.opened())
            await stack.enter_async_context(self.keys.opened())
            stack.push_async_callback(self.store.close)  # after the last write of the backend
            await stack.enter_async_context(self.backend.opened())
            stack.push_async_callback(self.answers.close)
            await self.store.open(self.backend.location)
            stack.push_async_callback(self.limits.close)
            await self.limits.open(self.backend.location)
            await stack.enter_async_context(self.jobs.opened())
            await self.keys.wait_until_read()
            yield


def create_components(
    settings: Settings, lifecycle: Lifecycle, open_lane: OpenLane | None
) -> Components:
    store = choose_store(settings)
    tracing = choose_tracing(os.environ)
    make_transport = PoolTransport if tracing is None else partial(TracedTransport, tracing=tracing)
    backend = SearchBackend(
        choose_backend(settings, open_lane, make_transport),
        settings.upserts_at_once,
        store.invalidate,
        tracing,
    )
    url = settings.database_url
    database_url = url.get_secret_value() if url else None
    keys = Keys(keys_file(settings.data_dir), database_url)
    admission = AdmissionController(settings.max_in_flight, settings.max_waiting)
    limits = choose_limits(settings)
    timeout_s = settings.records_timeout_ms / 1000
    jobs = Jobs(
        Path(settings.data_dir, "imports"),
        database_url,
        ImportTarget(lambda: backend.all_records, settings.pinecone_text_field, timeout_s),
        lifecycle,
        max_bytes=settings.max_import_bytes,
        batches_at_once=settings.import_batches_at_once,
        request_count=lambda: admission.admitted,
        limits=limits,
    )
    metrics = Metrics()
    # Several processes can cache only what all of them see, and learn of each other's writes.
    caches = settings.redis_url is not None or settings.web_concurrency == 1
    answers = Answers(store, settings.cache_ttl if caches else 0)
    cursor_ttl_s = settings.cursor_ttl + settings.cache_ttl  # a cached answer has a cursor, too
    search_parts = (
        backend,
        AnswerRenderer(settings.pinecone_text_field, settings.max_answer_bytes),
        ResultHighlighter(settings.pinecone_text_field, backend),
        answers,
        Cursors(store, cursor_ttl_s, enabled=caches),
        metrics,
    )
    return Components(
        tracing=tracing,
        audit=AuditLog(settings.audit_log, settings.secrets),
        keys=keys,
        policy=AccessPolicy(
            settings.service_keys,
            settings.host,
            settings.trusted_proxy_hops,
            settings.origins,
            settings.hosts,
            keys.ring,
        ),
        store=store,
        backend=backend,
        answers=answers,
        limits=limits,
        admission=admission,
        jobs=jobs,
        metrics=metrics,
        parser=RequestParser(settings, reranks_by_default=backend.reranks_by_default),
        searches=(
            SearchService(*search_parts)
            if tracing is None
            else TracedSearchService(
                *search_parts, tracing=tracing, log_queries=settings.log_queries
            )
        ),
    )
