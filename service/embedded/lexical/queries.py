"""From words to the library's queries: terms, phrases, likenesses, and what each is worth.

It knows fields by name and one state of the index; it does not know how a query string is written,
nor what is done with the documents that are found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tantivy import Occur, Query, Schema, Searcher

from service.embedded.lexical.analysis import Analysis

MARKER = 0  # the number of the document that says how far the log has been applied
MAX_WORDS = 1_024  # of one question, each field counted: the rarest
MAX_TYPO_WORDS = 16  # of one question: the rarest; the others must be spelled right
SHORTEST_TYPO, SHORTEST_TWO_TYPOS = 3, 8  # letters
OPERATORS = ("$match_phrase", "$match_all", "$match_any")
TYPO_WORTH = 0.5  # of what a word as rare would be worth in a document of average length


@dataclass(frozen=True, slots=True)
class TextClause:
    """One clause of a question: words to look for in some fields."""

    query: str
    fields: tuple[str, ...]  # () means every field
    syntax: bool = False  # False: plain text, never a syntax error. True: a query string
    typos: bool = False


@dataclass(frozen=True, slots=True)
class IndexedField:
    """A text field as the caller calls it, as the files call it, and how it is read."""

    name: str
    inner: str
    analysis: Analysis


class QueryBuilder:
    """Makes queries for one state of the index. None is the query that finds nothing."""

    def __init__(
        self, schema: Schema, searcher: Searcher, fields: Mapping[str, IndexedField]
    ) -> None:
        self._schema = schema
        self.searcher = searcher
        self._fields = fields

    def fields(self, names: Iterable[str]) -> list[IndexedField]:
        """The fields of these names, each once; all of them if there are no names."""
        unknown = [name for name in names if name not in self._fields]
        if unknown:
            raise ValueError(self.no_field(unknown[0]))
        return [self._fields[name] for name in dict.fromkeys(names)] or [*self._fields.values()]

    def no_field(self, name: str) -> str:
        there = ", ".join([*self._fields][:20]) or "none"
        return f"there is no text field {name!r}; the text fields are: {there}"

    def plain(self, clauses: Sequence[TextClause]) -> list[Query]:
        """What finds documents with any word of plain clauses. Scores are to be added up."""
        exact, like = Counter[tuple[IndexedField, str]](), Counter[tuple[IndexedField, str]]()
        for clause in clauses:
            for field in self.fields(clause.fields):
                counts = Counter((field, word) for word in field.analysis.words(clause.query))
                exact += counts
                like += counts if clause.typos else Counter()
        frequency = {each: self.searcher.doc_freq(each[0].inner, each[1]) for each in exact}
        rarest = sorted(exact, key=lambda each: frequency[each])
        known = [each for each in rarest if frequency[each]][:MAX_WORDS]
        queries = [Query.boost_query(self.term(*each), float(exact[each])) for each in known]
        some = MAX_TYPO_WORDS * len({field for field, _ in like})
        for field, word in [each for each in rarest if each in like][:some]:
            queries += self.misspelled(field, word, like[field, word])
        return queries

    def required(self, term: str, fields: Sequence[IndexedField]) -> list[Query]:
        """What a document must match to have each word of `term` in one of the fields."""
        wanted = {place for field in fields for place, _ in field.analysis.content(term)}
        words: dict[int, list[Query]] = {}
        for field in fields:
            for place, word in field.analysis.every(term):
                if place in wanted or not wanted:
                    words.setdefault(place, []).append(self.term(field, word))
        return [any_of(each) for each in words.values()]

    def matching(self, field: IndexedField, operator: str, text: str) -> Query | None:
        """What matches one of the OPERATORS on one field. Its scores mean nothing."""
        if operator == "$match_phrase":
            return self.phrase(field, field.analysis.every(text))
        words = sorted(set(field.analysis.words(text)))
        if not words:
            return None
        if operator == "$match_any":
            return Query.term_set_query(self._schema, field.inner, words)
        if not all(self.searcher.doc_freq(field.inner, word) for word in words):
            return None
        return Query.boolean_query([(Occur.Must, self.term(field, word)) for word in words])

    def term(self, field: IndexedField, word: str) -> Query:
        return Query.term_query(self._schema, field.inner, word, index_option="freq")

    def phrase(
        self, field: IndexedField, words: Sequence[tuple[int, str]], slop: int = 0
    ) -> Query | None:
        """These words, as far from each other as their places say."""
        if len(words) <= 1:
            return self.term(field, words[0][1]) if words else None
        return Query.phrase_query(self._schema, field.inner, [*words], slop)

    def beginning(self, field: IndexedField, text: str) -> Query | None:
        """The words of `text` one after the other, the last of which may go on.

        What is indexed has lost its ending: `empire` is there as `empir`. So the last word is also
        looked for as it is indexed itself.
        """
        words, whole = field.analysis.every(text), field.analysis.whole(text)
        complete = self.phrase(field, words)
        if complete is None:
            return None
        if len(words) > 1:
            going_on: list[str | tuple[int, str]] = [*words[:-1], (words[-1][0], whole[-1])]
            further = Query.phrase_prefix_query(self._schema, field.inner, going_on)
            return any_of([complete, further])
        further = Query.fuzzy_term_query(self._schema, field.inner, whole[0], 0, prefix=True)
        return any_of([complete, self._worth_its_rarity(further)])

    def misspelled(self, field: IndexedField, word: str, count: int) -> Iterator[Query]:
        """What is like a word, or the word itself: it then counts on top of the word's BM25."""
        if len(word) >= SHORTEST_TYPO:
            distance = 2 if len(word) >= SHORTEST_TWO_TYPOS else 1
            yield self.like(field, word, distance, count)

    def like(self, field: IndexedField, word: str, distance: int, count: int = 1) -> Query:
        """Words that can be made of this one by so many changes, or none."""
        like = Query.fuzzy_term_query(self._schema, field.inner, word, distance)
        return self._worth_its_rarity(like, count)

    def everything(self) -> Query:
        """Every document but the one that is none."""
        marker = Query.term_query(self._schema, "docno", MARKER)
        query = Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, marker)])
        return Query.const_score_query(query, 1.0)

    def _worth_its_rarity(self, like: Query, count: int = 1) -> Query:
        having = self.searcher.search(like, 1).count  # type: ignore[attr-defined]  # not in the stubs
        rarity = math.log1p((self.searcher.num_docs - having + 0.5) / (having + 0.5))
        return Query.const_score_query(like, TYPO_WORTH * count * rarity)


def any_of(queries: Sequence[Query]) -> Query:
    """The sum of the scores."""
    if len(queries) == 1:
        return queries[0]
    return Query.boolean_query([(Occur.Should, each) for each in queries])


def all_of(query: Query, conditions: Sequence[Query]) -> Query:
    """The same scores, of fewer documents."""
    if not conditions:
        return query
    unscored = [(Occur.Must, Query.const_score_query(each, 0.0)) for each in conditions]
    return Query.boolean_query([(Occur.Must, query), *unscored])
