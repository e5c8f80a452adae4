"""The schemas of a search request: they validate, and they document."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from service.indexes.limits import MAX_ID_LENGTH, MAX_TOP_K
from service.retrieval.query import ALL_FIELDS, Fusion, Offsets, RerankMode, SearchQuery
from service.settings import Settings
from service.web.parameters import Filter, Namespace
from service.web.validation import StrictModel

MAX_TEXT_LENGTH = 100_000
MAX_DEPTH = 1_000
MAX_FIELDS = 100
MAX_TERMS = 32
MAX_NAME_LENGTH = 512
RESULT_KEYS = {"_id", "_score", "score", "found_by"}
PAGING = {"cursor", "top_k", "timeout_ms"}  # what a request for a later page may repeat


def _check_text(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the NUL character")
    return value


def _check_fields(names: list[str]) -> list[str]:
    for name in names:
        if not 0 < len(name) <= MAX_NAME_LENGTH or "\0" in name:
            raise ValueError(f"each field name must have 1 to {MAX_NAME_LENGTH} characters")
        if name in RESULT_KEYS:
            raise ValueError(f"{name!r} is not a field; every result has it without being asked")
    return names


def _check_terms(terms: list[str]) -> list[str]:
    for term in terms:
        if not term.strip() or len(term) > MAX_NAME_LENGTH or "\0" in term:
            raise ValueError(f"each term must have 1 to {MAX_NAME_LENGTH} characters")
    return terms


class SearchParameters(StrictModel):
    """A search."""

    text_query: Annotated[str, AfterValidator(_check_text)] = Field(
        "",
        max_length=MAX_TEXT_LENGTH,
        description="The text to search for. Required, except with a `cursor`.",
        examples=["how do I keep bread fresh"],
    )
    top_k: int | None = Field(
        None,
        ge=1,
        le=MAX_TOP_K,
        description="The maximum number of results. Defaults to `PINECONE_TOP_K`. With a rerank, "
        "the limit of the reranker applies.",
    )
    namespace: Namespace | None = Field(
        None,
        max_length=MAX_ID_LENGTH,
        description="The namespace to search. Defaults to `PINECONE_NAMESPACE`.",
    )
    filter: Filter | None = Field(
        None,
        description="Return only records that match this condition, in Pinecone's filter language.",
    )
    fields: Annotated[list[str], AfterValidator(_check_fields)] | None = Field(
        None,
        min_length=1,
        max_length=MAX_FIELDS,
        description="The record fields to return; `*` returns all. Defaults to `chunk_text`.",
    )
    match_terms: Annotated[list[str], AfterValidator(_check_terms)] | None = Field(
        None,
        min_length=1,
        max_length=MAX_TERMS,
        description="Return only records whose text contains all of these words. Lexical search "
        "only.",
    )
    typos: bool = Field(
        False,
        description="Also match words with one or two wrong letters. Lexical and cascading search "
        "on the embedded engine only.",
    )
    highlight: bool = Field(
        False,
        description="Return where the words of the query occur in each text. Lexical and cascading "
        "search on the embedded engine only.",
    )
    offsets: Offsets = Field(
        "characters",
        description="The unit of `highlights`: `characters` (Unicode code points, as in Python) or "
        "`utf16` (code units, as in JavaScript and Java).",
    )
    rerank: RerankMode | None = Field(
        None,
        description="Whether to rerank the union of both legs, the results of each leg, or "
        "nothing. Defaults to `union` for cascading retrieval and to `none` for the other "
        "searches.",
    )
    fusion: Fusion | None = Field(
        None,
        description="How to combine the scores of both legs. Defaults to `SEARCH_FUSION`. "
        "Cascading retrieval only; not allowed with `rerank=per-leg`.",
    )
    lexical_weight: float | None = Field(
        None,
        ge=0,
        le=1,
        description="The weight of the lexical leg; the semantic leg has the rest. Defaults to "
        "`SEARCH_LEXICAL_WEIGHT`. Cascading retrieval only; not allowed with `rerank=per-leg`.",
    )
    explain: bool = Field(
        False, description="Return the rank and score of each result at each stage of the search."
    )
    depth: int | None = Field(
        None,
        ge=1,
        le=MAX_DEPTH,
        description="The minimum number of candidates from each leg, which bounds how far cursors "
        "lead. Defaults to `SEARCH_DEPTH`.",
    )
    timeout_ms: int | None = Field(
        None,
        ge=1,
        description="The time limit in milliseconds. Defaults to `SEARCH_TIMEOUT_MS`; at most "
        "`SEARCH_TIMEOUT_MAX_MS`.",
    )

    def to_query(self, settings: Settings, rerank: RerankMode) -> SearchQuery:
        """The query, with the defaults of the service for what the request leaves out."""
        fields = tuple(self.fields) if self.fields is not None else None
        weight = self.lexical_weight
        return SearchQuery(
            text=self.text_query,
            top_k=self.top_k or settings.pinecone_top_k,
            namespace=self.namespace or settings.pinecone_namespace,
            rerank=self.rerank or rerank,
            filter=self.filter or None,
            fields=ALL_FIELDS if fields and "*" in fields else fields,
            match_terms=tuple(self.match_terms or ()),
            typos=self.typos,
            highlight=self.highlight,
            offsets=self.offsets,
            fusion=self.fusion or settings.search_fusion,
            lexical_weight=settings.search_lexical_weight if weight is None else weight,
            explain=self.explain,
            depth=self.depth or settings.search_depth,
        )


class SearchRequest(SearchParameters):
    """A search, or with `cursor` the next page of one."""

    cursor: str | None = Field(
        None,
        description="The `cursor` of the previous page. Send it alone, with another `top_k`, or "
        "with the parameters of the original search.",
    )

    @property
    def has_search_options(self) -> bool:
        """Whether it has more than what asks for a page."""
        return not self.model_dump(exclude_defaults=True).keys() <= PAGING
