"""What is asked of a search over HTTP, as types: they validate, and they are the documentation.

Strict: a number is a number, an unknown name is a mistake, and each message says what is allowed.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.indexes.filters import check_filter
from service.retrieval.query import ALL_FIELDS, Fusion, Query, RerankMode
from service.settings import check_namespace

MAX_TEXT = 100_000
MAX_TOP_K = 10_000
MAX_DEPTH = 1_000
MAX_NAME = 512
PAGING = {"cursor", "top_k", "timeout_ms"}
TEXT_QUERY = "What to search for, as a person would write it. Required, but for a `cursor`."
TOP_K = "How many results to answer with; PINECONE_TOP_K without. At most 200 or 100 if reranked."
NAMESPACE = "Where to search; PINECONE_NAMESPACE if empty or not given."
FILTER = "A condition in Pinecone's filter language, as a JSON object."
RERANK = (
    "Rerank the union of all legs once, inside each leg, or not at all. "
    "Without: `union` for cascading retrieval, `none` for the other two."
)
FUSION = (
    "Cascading retrieval: how scores of different legs become one; SEARCH_FUSION without. "
    "Not with rerank=per-leg, which makes them comparable."
)
LEXICAL_WEIGHT = (
    "Cascading retrieval: how much the lexical leg counts, from 0 to 1; the semantic one has the "
    "rest. SEARCH_LEXICAL_WEIGHT without. Not with rerank=per-leg."
)
EXPLAIN = "Answer with each result's place at each stage, and with its rank without that stage."
MATCH_TERMS = "Lexical search only: every result has all of these words in its text."
TYPOS = "Also find words that are off by a letter or two. Embedded engine; not for semantic search."
HIGHLIGHT = (
    "Answer with the places of the query's words in each text. "
    "Embedded engine; not for semantic search."
)
TIMEOUT = "By when the answer is due; SEARCH_TIMEOUT_MS without, SEARCH_TIMEOUT_MAX_MS at most."
DEPTH = (
    "How many records each leg looks for at least, and so how far cursors lead. "
    "SEARCH_DEPTH without."
)
CURSOR = (
    "The `cursor` of the page before, for the next one of the same ranking. "
    "Alone, with another `top_k`, or with the same parameters as before."
)


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the character NUL")
    return value


def _namespace(value: str) -> str:
    return check_namespace(value) if value else value


def _field_names(value: list[str]) -> list[str]:
    for name in value:
        if not 0 < len(name) <= MAX_NAME or "\0" in name:
            raise ValueError("each name has 1 to 512 characters")
        if name in {"_id", "_score", "score", "found_by"}:
            raise ValueError(f"{name!r} is not a field; it is in every answer")
    return value


def _terms(value: list[str]) -> list[str]:
    for term in value:
        if not term.strip() or len(term) > MAX_NAME or "\0" in term:
            raise ValueError("each term has 1 to 512 characters")
    return value


def checked_filter(value: dict[str, Any]) -> dict[str, Any]:
    check_filter(value)
    return value


class SearchRequest(BaseModel):
    """One search, or with `cursor` the next page of one. Only one of the two is required."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    text_query: Annotated[str, AfterValidator(_no_nul)] = Field(
        "", max_length=MAX_TEXT, description=TEXT_QUERY, examples=["how do I keep bread fresh"]
    )
    top_k: int | None = Field(None, ge=1, le=MAX_TOP_K, description=TOP_K)
    namespace: Annotated[str, AfterValidator(_namespace)] | None = Field(
        None, max_length=MAX_NAME, description=NAMESPACE
    )
    filter: Annotated[dict[str, Any], AfterValidator(checked_filter)] | None = Field(
        None, description=FILTER
    )
    fields: Annotated[list[str], AfterValidator(_field_names)] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description='Which fields to answer with; ["*"] for all of them. Without, chunk_text.',
    )
    match_terms: Annotated[list[str], AfterValidator(_terms)] | None = Field(
        None, min_length=1, max_length=32, description=MATCH_TERMS
    )
    typos: bool = Field(False, description=TYPOS)
    highlight: bool = Field(False, description=HIGHLIGHT)
    rerank: RerankMode | None = Field(None, description=RERANK)
    fusion: Fusion | None = Field(None, description=FUSION)
    lexical_weight: float | None = Field(None, ge=0, le=1, description=LEXICAL_WEIGHT)
    explain: bool = Field(False, description=EXPLAIN)
    depth: int | None = Field(None, ge=1, le=MAX_DEPTH, description=DEPTH)
    cursor: str | None = Field(None, description=CURSOR)
    timeout_ms: int | None = Field(None, ge=1, description=TIMEOUT)

    @property
    def asks_anything(self) -> bool:
        """Whether it says more than which page is wanted."""
        return not self.model_dump(exclude_defaults=True).keys() <= PAGING

    def to_query(
        self,
        *,
        top_k: int,
        namespace: str,
        rerank: RerankMode,
        fusion: Fusion,
        lexical_weight: float | None,
        depth: int,
    ) -> Query:
        """The query, with the given defaults where the request is silent."""
        fields = tuple(self.fields) if self.fields is not None else None
        return Query(
            text=self.text_query,
            top_k=self.top_k or top_k,
            namespace=self.namespace or namespace,
            rerank=self.rerank or rerank,
            filter=self.filter or None,
            fields=ALL_FIELDS if fields and "*" in fields else fields,
            match_terms=tuple(self.match_terms or ()),
            typos=self.typos,
            highlight=self.highlight,
            fusion=self.fusion or fusion,
            lexical_weight=lexical_weight if self.lexical_weight is None else self.lexical_weight,
            explain=self.explain,
            depth=self.depth or depth,
        )


class SearchParameters(BaseModel):
    """The same search as query parameters, for the documentation."""

    text_query: str = Field(
        "", max_length=MAX_TEXT, description=TEXT_QUERY, examples=["how do I keep bread fresh"]
    )
    top_k: int | None = Field(None, ge=1, le=MAX_TOP_K, description=TOP_K)
    namespace: str | None = Field(None, max_length=MAX_NAME, description=NAMESPACE)
    filter: str | None = Field(None, description=f"{FILTER} Percent-encoded in a URL.")
    fields: str | None = Field(
        None, description="Which fields to answer with, separated by commas; * for all of them."
    )
    match_terms: str | None = Field(
        None, description=f"{MATCH_TERMS} Up to 32, separated by commas."
    )
    typos: bool = Field(False, description=TYPOS)
    highlight: bool = Field(False, description=HIGHLIGHT)
    rerank: RerankMode | None = Field(None, description=RERANK)
    fusion: Fusion | None = Field(None, description=FUSION)
    lexical_weight: float | None = Field(None, ge=0, le=1, description=LEXICAL_WEIGHT)
    explain: bool = Field(False, description=EXPLAIN)
    depth: int | None = Field(None, ge=1, le=MAX_DEPTH, description=DEPTH)
    cursor: str | None = Field(None, description=CURSOR)
    timeout_ms: int | None = Field(None, ge=1, description=TIMEOUT)
