"""What a request asks for, whichever face of a search it comes to.

Knows nothing of how a request came in, nor of how it is answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import NamedTuple, Protocol

from service.errors import InvalidField
from service.retrieval.deadline import Deadline
from service.retrieval.query import Event, Highlighter, Mode, Query, RerankMode
from service.settings import Settings
from service.web.search.cache_keys import CacheKeys
from service.web.search.reading import Raw, read_search
from service.web.search.request_schemas import SearchRequest
from service.web.validation import invalid

REMEMBERED = 512  # requests that were understood, in each of the three searches
REMEMBERED_BYTES = 1_024  # of a request, at most


class SupportsSearch(Protocol):
    """What the faces need to have behind them."""

    @property
    def max_reranked(self) -> int:
        """How many results a rerank can bring into order; 0 where nothing can be reranked."""
        ...

    @property
    def forgives_typos(self) -> bool:
        """Whether the lexical leg can let words pass that are off by a letter."""
        ...

    @property
    def highlighter(self) -> Highlighter | None:
        """What finds a query's words in a text, if anything does."""
        ...

    @property
    def reranks_unasked(self) -> bool: ...

    def search(self, mode: Mode, query: Query, deadline: Deadline) -> AsyncIterator[Event]: ...


class ParsedSearch(NamedTuple):
    """What a request asks for, and a key that everything has in common which asks for the same."""

    search: SearchRequest
    query: Query
    timeout_ms: int
    key: str


class RequestParser:
    """How requests to one of the three searches are understood.

    `rerank` is how it reranks where a request is silent on that.
    """

    def __init__(
        self, mode: Mode, rerank: RerankMode, settings: Settings, searches: SupportsSearch
    ) -> None:
        self._mode = mode
        self._rerank: RerankMode = rerank if searches.reranks_unasked else "none"
        self._settings = settings
        self._searches = searches
        self._keys = CacheKeys(settings)
        self._remembered = lru_cache(REMEMBERED)(self._read)

    def read(self, raw: Raw) -> ParsedSearch:
        """Takes as long as all the rest that a kept answer takes, so it is remembered."""
        return self._remembered(raw) if len(raw.text) <= REMEMBERED_BYTES else self._read(raw)

    def understand(self, search: SearchRequest) -> ParsedSearch:
        """The query that it stands for, with our settings where it is silent."""
        query = search.to_query(
            top_k=self._settings.pinecone_top_k,
            namespace=self._settings.pinecone_namespace,
            rerank=self._rerank,
            fusion=self._settings.search_fusion,
            lexical_weight=self._settings.search_lexical_weight,
            depth=self._settings.search_depth,
        )
        timeout_ms = search.timeout_ms or self._settings.search_timeout_ms
        if timeout_ms > self._settings.search_timeout_max_ms:
            raise at("timeout_ms", f"must be at most {self._settings.search_timeout_max_ms}")
        return ParsedSearch(
            search, query, timeout_ms, self._keys.key(self._mode, query, timeout_ms)
        )

    def check(self, asked: ParsedSearch) -> None:
        """Raise where this search can't be asked that."""
        self._check_rerank(asked.query)
        self._check_words(asked.query)
        self._check_fusion(asked.search)

    def _read(self, raw: Raw) -> ParsedSearch:
        return self.understand(read_search(raw))

    def _check_rerank(self, query: Query) -> None:
        if query.rerank == "none":
            return
        limit = self._searches.max_reranked
        if not limit:
            raise at("rerank", "must be none: there is no rerank model here")
        if query.top_k > limit:
            raise at("top_k", f"must be at most {limit}, or rerank must be none")

    def _check_words(self, query: Query) -> None:
        """What is about words can't be asked of meaning, nor of an index that doesn't know how."""
        mode, searches = self._mode, self._searches
        where = "is for lexical and cascading search, where the engine is the embedded one"
        if query.match_terms and mode != "lexical":
            raise at("match_terms", "is for lexical search: meaning has no terms to match")
        if query.typos and (mode == "semantic" or not searches.forgives_typos):
            raise at("typos", where)
        if query.highlight and (mode == "semantic" or searches.highlighter is None):
            raise at("highlight", where)

    def _check_fusion(self, search: SearchRequest) -> None:
        """Only a cascade has several legs, and what one reranker scored is compared as it is."""
        for name in ("fusion", "lexical_weight"):
            if getattr(search, name) is None:
                continue
            if self._mode != "cascading":
                raise at(name, "is for cascading retrieval: one leg alone is not fused")
            if search.rerank == "per-leg":
                raise at(
                    name, "can't go with rerank=per-leg, where the best score of a record counts"
                )


def at(name: str, msg: str) -> Exception:
    """The error of a parameter that has a value which is not allowed."""
    return invalid(InvalidField((name,), msg))
