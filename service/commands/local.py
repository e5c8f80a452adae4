"""The service's search and records in this process, without HTTP and without a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import orjson

from service.access.grant import UNRESTRICTED
from service.backends import choose_backend
from service.backends.search_backend import SearchBackend
from service.caching import choose_store
from service.caching.answer_cache import AnswerCache
from service.commands.interrupt import Interrupt
from service.errors import CommandFailed, StartupFailed
from service.ingest.target import WriteResult
from service.records.records import ImportTarget
from service.retrieval.deadline import Deadline
from service.retrieval.query import Mode, StageEvent
from service.retrieval.receipt import Receipt, Stopwatch
from service.settings import Settings
from service.web.metrics.metrics import Metrics
from service.web.search.caching import CacheDirectives
from service.web.search.cursors import Cursors
from service.web.search.highlighting import ResultHighlighter
from service.web.search.parsing import RequestParser, require_text
from service.web.search.rendering import AnswerRenderer, add_receipt, answer_receipt
from service.web.search.request_schemas import SearchRequest
from service.web.search.service import SearchService
from service.web.validation import validate

BATCH_SIZE = 512  # a third faster than 96 on the embedded engine; Pinecone takes fewer
UNCACHED = CacheDirectives(fresh=True, may_store=False)


class Local(ImportTarget):
    """Records go into the open backend, and searches are run on it."""

    def __init__(self, settings: Settings, backend: SearchBackend, service: SearchService) -> None:
        timeout_s = settings.records_timeout_ms / 1000
        super().__init__(lambda: backend.all_records, settings.pinecone_text_field, timeout_s)
        self._namespace = settings.pinecone_namespace
        self._parser = RequestParser(settings, reranks_by_default=backend.reranks_by_default)
        self._service = service

    @property
    def batch_size(self) -> int:
        return min(super().batch_size, BATCH_SIZE)

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        return await super().upsert(namespace or self._namespace, records)

    async def search(self, mode: Mode, body: Mapping[str, Any]) -> dict[str, Any]:
        watch = Stopwatch()
        request = require_text(validate(SearchRequest, orjson.dumps(body)))
        search = self._parser.resolve(mode, request, UNRESTRICTED)
        deadline = Deadline(search.timeout_ms / 1000)
        answer = await self._service.search(search, deadline, UNCACHED)
        found: dict[str, Any] = orjson.loads(
            add_receipt(answer.payload, answer_receipt(answer, watch))
        )
        return found


@contextlib.asynccontextmanager
async def open_local(settings: Settings, interrupt: Interrupt) -> AsyncIterator[Local]:
    """Open the backend, and close it. Writes invalidate what a shared Redis has cached."""
    store = choose_store(settings)
    backend = SearchBackend(choose_backend(settings), settings.upserts_at_once, store.invalidate)
    renderer = AnswerRenderer(settings.pinecone_text_field, settings.max_answer_bytes)
    highlighter = ResultHighlighter(settings.pinecone_text_field, backend)
    cursors = Cursors(store, settings.cursor_ttl, enabled=False)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        with _explain_lock(), interrupt.deferred():
            await stack.enter_async_context(backend.opened())
            await store.open(backend.location)
        answers: AnswerCache[StageEvent, Receipt] = AnswerCache(store, 0)
        stack.push_async_callback(answers.close)
        service = SearchService(backend, renderer, highlighter, answers, cursors, Metrics())
        yield Local(settings, backend, service)


@contextlib.contextmanager
def _explain_lock() -> Iterator[None]:
    """If a running service owns the data directory, name `--url` as the way to reach it."""
    try:
        yield
    except StartupFailed as exc:
        if "belongs to process" not in exc.detail:
            raise
        owner = exc.detail.partition(", which is running")[0]
        raise CommandFailed(
            f"{owner}, which is running; if that is the service, reach it with --url, "
            "such as --url http://127.0.0.1:8000"
        ) from exc
