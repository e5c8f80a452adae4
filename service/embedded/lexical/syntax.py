"""Query strings such as `title:rome AND (body:"old town" OR body:empire^2) -tourist`.

tantivy parses the syntax. The resulting tree is translated here and not by tantivy, so that a query
reaches text fields only, each with its own analysis, and has limited cost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import tantivy
from tantivy import Occur, Query

from service.embedded.lexical.analysis import encodable
from service.embedded.lexical.queries import (
    MAX_FUZZY_TERMS,
    MAX_TERMS,
    IndexedField,
    QueryBuilder,
    any_of,
)

MAX_LENGTH = 10_000  # characters
MAX_DEPTH = 30  # of brackets; tantivy's parser is recursive and overflows the stack at some 2,000
MAX_BOOST = 1_000.0
MAX_SLOP = 100
MAX_PHRASE_WORDS = 100
MAX_DISTANCE = 2  # edits; tantivy's limit

_OCCURS = {
    "must": Occur.Must,
    "must_not": Occur.MustNot,
    "should": Occur.Should,
    None: Occur.Should,
}
_FUZZY = re.compile(r"(.+)~(\d?)", re.DOTALL)
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")  # the parser would take it for a quotation mark
_UNSUPPORTED = {
    "range": "ranges such as [a TO z] or >5",
    "set": "sets such as IN [a b]",
    "regex": "regular expressions",
    "exists": "field:* (whether a field exists)",
}

Node = dict[str, Any]


class InvalidQueryString(ValueError):
    """A query string is invalid, for the reason in the message."""


def parse_query_string(
    text: str, queries: QueryBuilder, fields: Sequence[IndexedField]
) -> Query | None:
    """Translate a query string. Stop words are searched for only if there are no other words."""
    tree = _parse(encodable(text))
    for stop_words in (False, True):
        result = _Translator(queries, fields, stop_words=stop_words).translate(tree)
        if result is not None and not result[1]:
            return result[0]
    if result is None:
        return None
    raise InvalidQueryString("the query only excludes; add a word to search for")


def _parse(text: str) -> Node:
    if len(text) > MAX_LENGTH:
        raise InvalidQueryString(f"the query is longer than {MAX_LENGTH} characters")
    depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth > MAX_DEPTH:
            raise InvalidQueryString(f"the query has more than {MAX_DEPTH} nested brackets")
    if re.search(r"\bNOT\s+NOT\b", text):  # parsing takes quadratic time
        raise InvalidQueryString("the query has NOT NOT")
    text = _APOSTROPHE.sub("’", text)
    try:
        return tantivy.parse_query(text)
    except ValueError as e:
        why = "a quote, a bracket or an operator is unmatched"
        for error in tantivy.parse_query_lenient(text)[1][:1]:
            before = text.encode()[: error["pos"]].decode(errors="ignore")
            why = f"{error['message']} after {len(before)} characters"
        raise InvalidQueryString(f"the query string is invalid: {why}") from e


class _Translator:
    """Translates a parsed tree into a query and whether it only excludes, None if it is empty."""

    def __init__(
        self, queries: QueryBuilder, fields: Sequence[IndexedField], *, stop_words: bool
    ) -> None:
        self._queries = queries
        self._fields = fields
        self._stop_words = stop_words
        self._words = 0
        self._fuzzy_terms = 0

    def translate(self, node: Node) -> tuple[Query, bool] | None:
        kind = node["type"]
        if kind == "bool":
            return self._bool(node["clauses"])
        if kind == "boost":
            return self._boost(node)
        if kind == "all":
            return self._queries.everything(), False
        if kind in _UNSUPPORTED:
            raise InvalidQueryString(f"the query uses {_UNSUPPORTED[kind]}, which is not supported")
        found = [self._literal(node, field) for field in self._resolve_fields(node["field_name"])]
        queries = [query for query in found if query is not None]
        return (any_of(queries), False) if queries else None

    def _bool(self, clauses: Sequence[tuple[str | None, Node]]) -> tuple[Query, bool] | None:
        parts = list[tuple[Occur, Query]]()
        for occurs, node in clauses:
            translated = self.translate(node)
            if translated is None:
                continue
            query, excludes = translated
            if excludes:
                query = self._all_but(query)
            parts.append((_OCCURS[occurs], query))
        if not parts:
            return None
        excludes = all(occurs == Occur.MustNot for occurs, _ in parts)
        if excludes:
            return any_of([query for _, query in parts]), True
        return Query.boolean_query(parts), False

    def _all_but(self, excluded: Query) -> Query:
        everything = Query.const_score_query(self._queries.everything(), 0.0)
        return Query.boolean_query([(Occur.Must, everything), (Occur.MustNot, excluded)])

    def _boost(self, node: Node) -> tuple[Query, bool] | None:
        boost = float(node["boost"])
        if not 0 <= boost <= MAX_BOOST:
            raise InvalidQueryString(f"^ must be followed by a number from 0 to {MAX_BOOST:g}")
        translated = self.translate(node["underlying"])
        return translated and (Query.boost_query(translated[0], boost), translated[1])

    def _resolve_fields(self, name: str | None) -> Sequence[IndexedField]:
        if name is None:
            return self._fields
        try:
            return self._queries.fields([name])
        except ValueError as e:
            raise InvalidQueryString(str(e)) from None

    def _literal(self, node: Node, field: IndexedField) -> Query | None:
        self._words += 1
        if self._words > MAX_TERMS:
            raise InvalidQueryString(
                f"the query has more than {MAX_TERMS} words, counted per field"
            )
        text = node["phrase"]
        if len(field.analysis.tokens(text)) > MAX_PHRASE_WORDS:
            raise InvalidQueryString(
                f"the query has a phrase of more than {MAX_PHRASE_WORDS} words"
            )
        if node["delimiter"] == "none":
            return self._word(text, field)
        if node["prefix"]:
            return self._prefix(text, field)
        if node["slop"] > MAX_SLOP:
            raise InvalidQueryString(f"the number after a phrase and ~ must be at most {MAX_SLOP}")
        return self._queries.phrase(field, field.analysis.tokens(text), node["slop"])

    def _word(self, text: str, field: IndexedField) -> Query | None:
        if text in ("&&", "||"):
            raise InvalidQueryString("write AND and OR instead of && and ||")
        if fuzzy := _FUZZY.fullmatch(text):
            return self._fuzzy(fuzzy[1], int(fuzzy[2] or MAX_DISTANCE), field)
        if text.endswith("*"):
            return self._prefix(text[:-1], field)
        if "*" in text:
            raise InvalidQueryString(f"{text!r}: * is allowed only at the end of a word")
        words = field.analysis.content_tokens(text)
        if not words and self._stop_words:
            words = field.analysis.tokens(text)
        return self._queries.phrase(field, words)

    def _fuzzy(self, text: str, distance: int, field: IndexedField) -> Query | None:
        self._count_fuzzy_term()
        words = field.analysis.tokens(text)
        if len(words) > 1 or distance > MAX_DISTANCE:
            raise InvalidQueryString(
                f"~ must follow one word, with a distance from 0 to {MAX_DISTANCE}"
            )
        if not words:
            return None
        word = words[0][1]
        exact = self._queries.term(field, word)
        return any_of([exact, self._queries.fuzzy(field, word, distance)])

    def _prefix(self, text: str, field: IndexedField) -> Query | None:
        if "*" in text:
            raise InvalidQueryString(f"{text!r}: * is allowed only at the end of a word")
        self._count_fuzzy_term()
        return self._queries.prefix(field, text)

    def _count_fuzzy_term(self) -> None:
        self._fuzzy_terms += 1
        if self._fuzzy_terms > MAX_FUZZY_TERMS * len(self._fields):
            raise InvalidQueryString(f"the query has more than {MAX_FUZZY_TERMS} words with * or ~")
