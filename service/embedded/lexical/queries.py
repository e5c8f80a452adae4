"""Builds tantivy queries from words: terms, phrases, fuzzy terms, and their weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tantivy import Occur, Query, Schema, Searcher

from service.embedded.lexical.analysis import Analysis

MARKER = 0  # docno of the document that stores the committed sequence number
MAX_TERMS = 1_024  # of one search, counted per field: the rarest
MAX_FUZZY_TERMS = 16  # of one search: the rarest; the others must match exactly
MIN_LENGTH_ONE_TYPO, MIN_LENGTH_TWO_TYPOS = 3, 8  # characters
OPERATORS = ("$match_phrase", "$match_all", "$match_any")
MAX_TERM_SCORE = 2.2  # of BM25, times the rarity: k1 + 1
FUZZY_WEIGHT = 0.5  # of the weight of an equally rare term in a document of average length


@dataclass(frozen=True, slots=True)
class TextClause:
    """One clause of a search: a text that is searched for in some fields."""

    query: str
    fields: tuple[str, ...]  # () for all fields
    syntax: bool = False  # True for a query string, False for plain text
    typos: bool = False


@dataclass(frozen=True, slots=True)
class IndexedField:
    """A full-text field: its name, its names in the index files, and its analysis."""

    name: str
    stored_name: str
    identifiers_name: str
    analysis: Analysis


class QueryBuilder:
    """Builds queries for one state of the index. None stands for a query without results."""

    def __init__(
        self, schema: Schema, searcher: Searcher, fields: Mapping[str, IndexedField]
    ) -> None:
        self._schema = schema
        self.searcher = searcher
        self._fields = fields

    def fields(self, names: Iterable[str]) -> list[IndexedField]:
        """Return the fields of these names without duplicates, or all fields for no names."""
        unknown = [name for name in names if name not in self._fields]
        if unknown:
            known = ", ".join([*self._fields][:20]) or "none"
            raise ValueError(f"there is no text field {unknown[0]!r}; the text fields are: {known}")
        return [self._fields[name] for name in dict.fromkeys(names)] or [*self._fields.values()]

    def plain(self, clauses: Sequence[TextClause]) -> list[Query]:
        """Build the queries of plain clauses, of which one has to match; their scores add up."""
        exact, fuzzy = Counter[tuple[IndexedField, str]](), Counter[tuple[IndexedField, str]]()
        identifiers = Counter[tuple[IndexedField, str]]()
        for clause in clauses:
            for field in self.fields(clause.fields):
                identifiers.update(
                    (field, each) for each in field.analysis.identifiers(clause.query)
                )
                counts = Counter((field, word) for word in field.analysis.query_terms(clause.query))
                exact += counts
                fuzzy += counts if clause.typos else Counter()
        frequency = {each: self.searcher.doc_freq(each[0].stored_name, each[1]) for each in exact}
        rarest = sorted(exact, key=lambda each: frequency[each])
        known = [each for each in rarest if frequency[each]][:MAX_TERMS]
        queries = [Query.boost_query(self.term(*each), float(exact[each])) for each in known]
        for (field, whole), count in [*identifiers.items()][:MAX_TERMS]:
            queries += self.identifier(field, whole, count)
        limit = MAX_FUZZY_TERMS * len({field for field, _ in fuzzy})
        for field, word in [each for each in rarest if each in fuzzy][:limit]:
            queries += self.tolerant(field, word, fuzzy[field, word])
        return queries

    def identifier(self, field: IndexedField, whole: str, count: int) -> Iterator[Query]:
        """Build the query of an identifier, whose words are searched for beside it.

        Its score is the most that BM25 gives for all of these words, so a document that has the
        words apart ranks below one that has the identifier.
        """
        if self.searcher.doc_freq(field.identifiers_name, whole):
            query = Query.term_query(self._schema, field.identifiers_name, whole, "basic")
            words = [word for _, word in field.analysis.tokens(whole)]
            rarity = sum(
                self._rarity(self.searcher.doc_freq(field.stored_name, word)) for word in words
            )
            yield Query.const_score_query(query, MAX_TERM_SCORE * count * rarity)

    def required(self, term: str, fields: Sequence[IndexedField]) -> list[Query]:
        """Build a query for each word of `term`, which matches if any field has the word."""
        content = [field.analysis.content_tokens(term) for field in fields]
        wanted = {position for tokens in content for position, _ in tokens}
        words: dict[int, list[Query]] = {}
        for field in fields:
            for position, word in field.analysis.tokens(term):
                if position in wanted or not wanted:
                    words.setdefault(position, []).append(self.term(field, word))
        return [any_of(each) for each in words.values()]

    def matching(self, field: IndexedField, operator: str, text: str) -> Query | None:
        """Build the query of a filter operator on one field, without meaningful scores."""
        if operator == "$match_phrase":
            return self.phrase(field, field.analysis.tokens(text))
        words = sorted(set(field.analysis.query_terms(text)))
        if not words:
            return None
        if operator == "$match_any":
            return Query.term_set_query(self._schema, field.stored_name, words)
        if not all(self.searcher.doc_freq(field.stored_name, word) for word in words):
            return None
        return Query.boolean_query([(Occur.Must, self.term(field, word)) for word in words])

    def term(self, field: IndexedField, word: str) -> Query:
        return Query.term_query(self._schema, field.stored_name, word, index_option="freq")

    def phrase(
        self, field: IndexedField, words: Sequence[tuple[int, str]], slop: int = 0
    ) -> Query | None:
        """Build a query for words at the same distances as their positions."""
        if len(words) <= 1:
            return self.term(field, words[0][1]) if words else None
        return Query.phrase_query(self._schema, field.stored_name, [*words], slop)

    def prefix(self, field: IndexedField, text: str) -> Query | None:
        """Build a query for the words of `text` as a phrase, the last of which is a prefix.

        Indexed terms are stemmed: `empire` is indexed as `empir`. So the stem of the last word is
        searched for, too.
        """
        words, unstemmed = field.analysis.tokens(text), field.analysis.unstemmed(text)
        complete = self.phrase(field, words)
        if complete is None:
            return None
        if len(words) > 1:
            open_ended: list[str | tuple[int, str]] = [*words[:-1], (words[-1][0], unstemmed[-1])]
            by_prefix = Query.phrase_prefix_query(self._schema, field.stored_name, open_ended)
            return any_of([complete, by_prefix])
        name, word = field.stored_name, unstemmed[0]
        by_prefix = Query.fuzzy_term_query(self._schema, name, word, 0, prefix=True)
        return any_of([complete, self._weighted_by_rarity(by_prefix)])

    def tolerant(self, field: IndexedField, word: str, count: int) -> Iterator[Query]:
        """Build the fuzzy query of a word; an exact match adds this score to its BM25 score."""
        if distance := _typos_allowed(word):
            yield self.fuzzy(field, word, distance, count)

    def typos(self, field: IndexedField, text: str) -> dict[str, int]:
        """Return the terms of a text that match with typos, and the edit distance of each."""
        words = dict.fromkeys(field.analysis.query_terms(text))
        rarest = sorted(words, key=lambda word: self.searcher.doc_freq(field.stored_name, word))
        distances = {word: _typos_allowed(word) for word in rarest[:MAX_FUZZY_TERMS]}
        return {word: distance for word, distance in distances.items() if distance}

    def fuzzy(self, field: IndexedField, word: str, distance: int, count: int = 1) -> Query:
        """Build a query for terms within an edit distance of `word`, itself included."""
        query = Query.fuzzy_term_query(self._schema, field.stored_name, word, distance)
        return self._weighted_by_rarity(query, count)

    def everything(self) -> Query:
        """Build a query for all documents except the marker."""
        marker = Query.term_query(self._schema, "docno", MARKER)
        query = Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, marker)])
        return Query.const_score_query(query, 1.0)

    def _weighted_by_rarity(self, query: Query, count: int = 1) -> Query:
        matches = self.searcher.search(query, 1).count  # type: ignore[attr-defined]  # not in the stubs
        return Query.const_score_query(query, FUZZY_WEIGHT * count * self._rarity(matches))

    def _rarity(self, matches: int) -> float:
        """The inverse document frequency of BM25."""
        return math.log1p((max(self.searcher.num_docs - matches, 0) + 0.5) / (matches + 0.5))


def _typos_allowed(word: str) -> int:
    if len(word) < MIN_LENGTH_ONE_TYPO:
        return 0
    return 1 if len(word) < MIN_LENGTH_TWO_TYPOS else 2


def any_of(queries: Sequence[Query]) -> Query:
    """Build a query that matches if one matches, with the sum of the scores."""
    if len(queries) == 1:
        return queries[0]
    return Query.boolean_query([(Occur.Should, each) for each in queries])


def all_of(query: Query, conditions: Sequence[Query]) -> Query:
    """Add conditions to a query without changing its scores."""
    if not conditions:
        return query
    unscored = [(Occur.Must, Query.const_score_query(each, 0.0)) for each in conditions]
    return Query.boolean_query([(Occur.Must, query), *unscored])
