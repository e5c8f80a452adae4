"""Query strings: `title:rome AND (body:"old town" OR body:empire^2) -tourist`.

The library reads the syntax; what it reads is turned into queries here, so that nothing but text
fields can be asked, each with its own analysis, and nothing that costs more than words do. It does
not know what a term or a phrase is in the index.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import tantivy
from tantivy import Occur, Query

from service.embedded.lexical.analysis import encodable
from service.embedded.lexical.queries import (
    MAX_TYPO_WORDS,
    MAX_WORDS,
    IndexedField,
    QueryBuilder,
    any_of,
)

MAX_LENGTH = 10_000  # characters
MAX_DEPTH = 30  # of brackets; the library's parser uses the stack, and has none left at some 2,000
MAX_BOOST = 1_000.0
MAX_SLOP = 100
MAX_PHRASE = 100  # words
MAX_DISTANCE = 2  # letters; the library can do no more

_OCCURS = {
    "must": Occur.Must,
    "must_not": Occur.MustNot,
    "should": Occur.Should,
    None: Occur.Should,
}
_FUZZY = re.compile(r"(.+)~(\d?)", re.DOTALL)
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")  # to the parser it would open a quotation
_NOT_HERE = {
    "range": "ranges such as [a TO z] or >5",
    "set": "sets such as IN [a b]",
    "regex": "regular expressions",
    "exists": "the question whether a field is there",
}

Node = dict[str, Any]


class InvalidQueryString(ValueError):
    """A query string that can't be read: the sentence says why."""


def parse_query_string(
    text: str, queries: QueryBuilder, fields: Sequence[IndexedField]
) -> Query | None:
    """What `text` asks for, in `fields` where it names none. Stop words count if all are."""
    tree = _tree(encodable(text))
    for stop_words in (False, True):
        made = _Maker(queries, fields, stop_words=stop_words).make(tree)
        if made is not None and not made[1]:
            return made[0]
    if made is None:
        return None
    raise InvalidQueryString("the query only says what not to find")


def _tree(text: str) -> Node:
    if len(text) > MAX_LENGTH:
        raise InvalidQueryString(f"the query is longer than {MAX_LENGTH} characters")
    depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth > MAX_DEPTH:
            raise InvalidQueryString(
                f"the query has more than {MAX_DEPTH} brackets inside each other"
            )
    if re.search(r"\bNOT\s+NOT\b", text):  # reading many of them takes the square of their number
        raise InvalidQueryString("NOT stands twice")
    text = _APOSTROPHE.sub("’", text)
    try:
        return tantivy.parse_query(text)
    except ValueError as e:
        why = "a quote, a bracket or an operator is left over"
        for mistake in tantivy.parse_query_lenient(text)[1][:1]:
            before = text.encode()[: mistake["pos"]].decode(errors="ignore")
            why = f"{mistake['message']} after {len(before)} characters"
        raise InvalidQueryString(f"the query can't be read: {why}") from e


class _Maker:
    """Makes a query of a tree: with whether it only excludes, or None if it says nothing."""

    def __init__(
        self, queries: QueryBuilder, fields: Sequence[IndexedField], *, stop_words: bool
    ) -> None:
        self._queries = queries
        self._fields = fields
        self._stop_words = stop_words
        self._words = 0
        self._likenesses = 0

    def make(self, node: Node) -> tuple[Query, bool] | None:
        kind = node["type"]
        if kind == "bool":
            return self._bool(node["clauses"])
        if kind == "boost":
            return self._boost(node)
        if kind == "all":
            return self._queries.everything(), False
        if kind in _NOT_HERE:
            raise InvalidQueryString(f"{_NOT_HERE[kind]} can't be asked for")
        found = [self._literal(node, field) for field in self._of(node["field_name"])]
        queries = [query for query in found if query is not None]
        return (any_of(queries), False) if queries else None

    def _bool(self, clauses: Sequence[tuple[str | None, Node]]) -> tuple[Query, bool] | None:
        parts = list[tuple[Occur, Query]]()
        for occurs, node in clauses:
            made = self.make(node)
            if made is None:
                continue
            query, excludes = made
            if excludes:
                query = self._but(query)
            parts.append((_OCCURS[occurs], query))
        if not parts:
            return None
        excludes = all(occurs == Occur.MustNot for occurs, _ in parts)
        if excludes:
            return any_of([query for _, query in parts]), True
        return Query.boolean_query(parts), False

    def _but(self, excluded: Query) -> Query:
        everything = Query.const_score_query(self._queries.everything(), 0.0)
        return Query.boolean_query([(Occur.Must, everything), (Occur.MustNot, excluded)])

    def _boost(self, node: Node) -> tuple[Query, bool] | None:
        boost = float(node["boost"])
        if not 0 <= boost <= MAX_BOOST:
            raise InvalidQueryString(f"^ must be followed by a number from 0 to {MAX_BOOST:g}")
        made = self.make(node["underlying"])
        return made and (Query.boost_query(made[0], boost), made[1])

    def _of(self, name: str | None) -> Sequence[IndexedField]:
        if name is None:
            return self._fields
        try:
            return self._queries.fields([name])
        except ValueError as e:
            raise InvalidQueryString(str(e)) from None

    def _literal(self, node: Node, field: IndexedField) -> Query | None:
        self._words += 1
        if self._words > MAX_WORDS:
            raise InvalidQueryString(
                f"the query has more than {MAX_WORDS} words, each field counted"
            )
        text = node["phrase"]
        if len(field.analysis.every(text)) > MAX_PHRASE:
            raise InvalidQueryString(f"the query has a phrase of more than {MAX_PHRASE} words")
        if node["delimiter"] == "none":
            return self._word(text, field)
        if node["prefix"]:
            return self._beginning(text, field)
        if node["slop"] > MAX_SLOP:
            raise InvalidQueryString(f"~ after a phrase must be followed by at most {MAX_SLOP}")
        return self._queries.phrase(field, field.analysis.every(text), node["slop"])

    def _word(self, text: str, field: IndexedField) -> Query | None:
        if text in ("&&", "||"):
            raise InvalidQueryString("write AND and OR instead of && and ||")
        if fuzzy := _FUZZY.fullmatch(text):
            return self._fuzzy(fuzzy[1], int(fuzzy[2] or MAX_DISTANCE), field)
        if text.endswith("*"):
            return self._beginning(text[:-1], field)
        if "*" in text:
            raise InvalidQueryString(f"{text!r}: a * can only stand at the end of a word")
        words = field.analysis.content(text)
        if not words and self._stop_words:
            words = field.analysis.every(text)
        return self._queries.phrase(field, words)

    def _fuzzy(self, text: str, distance: int, field: IndexedField) -> Query | None:
        self._count_likeness()
        words = field.analysis.every(text)
        if len(words) > 1 or distance > MAX_DISTANCE:
            raise InvalidQueryString(f"~ must stand after one word, and before 0 to {MAX_DISTANCE}")
        if not words:
            return None
        word = words[0][1]
        exact = self._queries.term(field, word)
        return any_of([exact, self._queries.like(field, word, distance)])

    def _beginning(self, text: str, field: IndexedField) -> Query | None:
        if "*" in text:
            raise InvalidQueryString(f"{text!r}: a * can only stand at the end of a word")
        self._count_likeness()
        return self._queries.beginning(field, text)

    def _count_likeness(self) -> None:
        self._likenesses += 1
        if self._likenesses > MAX_TYPO_WORDS * len(self._fields):
            raise InvalidQueryString(f"the query has more than {MAX_TYPO_WORDS} words with * or ~")
