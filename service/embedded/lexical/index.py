"""Lexical search: which documents have the words of a question, ranked by BM25.

A view of a change log that is kept elsewhere. It knows document numbers and texts by field; it does
not know ids, namespaces, filters, or what else is in the log. It can always be deleted and built
again.

Every word is indexed, stop words too, with its place; a query drops its stop words unless it has no
others. So "to be or not to be" finds something, a phrase is a phrase, and the list of stop words
can change without a rebuild.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import EIO
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from pyroaring import BitMap, BitMap64
from tantivy import Document, FieldType, Index, IndexWriter, Order, Query, SchemaBuilder, Searcher

from service.embedded.lexical.analysis import ANALYSIS, Analysis, readable
from service.embedded.lexical.files import CorruptIndex, IndexInUse, check_files, translate_errors
from service.embedded.lexical.queries import (
    MARKER,
    MAX_WORDS,
    OPERATORS,
    IndexedField,
    QueryBuilder,
    TextClause,
    all_of,
    any_of,
)
from service.embedded.lexical.syntax import InvalidQueryString, parse_query_string

__all__ = [
    "MAX_WORDS",
    "CorruptIndex",
    "IndexInUse",
    "InvalidQueryString",
    "LexicalIndex",
    "TextClause",
]

Found: TypeAlias = tuple[int, float]

LANGUAGE = "english"
HEAP_BYTES = 15_000_000
SPARE = 32  # hits fetched beyond what was asked for, as a tie may go on there
WIDER = 4
SLICE = 20_000  # hits of one go, where a set of them is asked for


class LexicalIndex:
    """BM25 over some texts per document number. Any thread may call anything."""

    def __init__(
        self, folder: Path, fields: Sequence[str], *, languages: Mapping[str, str] | None = None
    ) -> None:
        """Open what is in the folder, or begin. Refuses what was made with other arguments."""
        languages = {name: (languages or {}).get(name, LANGUAGE) for name in fields}
        read = {language: Analysis(language) for language in {*languages.values(), LANGUAGE}}
        self._any_analysis = read[languages[fields[0]] if fields else LANGUAGE]
        self._fields = {
            name: IndexedField(name, f"text{at}", read[language])
            for at, (name, language) in enumerate(languages.items())
        }
        builder = SchemaBuilder()
        # Signed, as the library deletes nothing, silently, by a term of an unsigned field.
        builder.add_integer_field("docno", indexed=True, fast=True)
        builder.add_integer_field("applied", fast=True)
        # All that a text's words depend on is in the schema: if it is another, opening is refused.
        tokenizers = {
            each.name: json.dumps([ANALYSIS, languages[each.name], each.name])
            for each in self._fields.values()
        }
        for each in self._fields.values():
            builder.add_text_field(each.inner, tokenizer_name=tokenizers[each.name])
        self._schema = builder.build()
        self._writing = Lock()
        self._failure: BaseException | None = None
        folder.mkdir(parents=True, exist_ok=True)
        with translate_errors():
            self._index = Index(self._schema, str(folder))
            for each in self._fields.values():
                self._index.register_tokenizer(tokenizers[each.name], each.analysis.indexed)
            self._index.config_reader("manual")
            self._writer: IndexWriter | None = self._index.writer(HEAP_BYTES, 1)
            try:  # from here on nobody else writes
                self._writer.garbage_collect_files()
                check_files(folder)
                self._index.reload()
                self._committed_seq = self._read_committed_seq()
            except BaseException:
                self.close()
                raise

    @property
    def committed_seq(self) -> int:
        """How far the log is committed here."""
        return self._committed_seq

    def apply(self, added: Iterable[tuple[int, Mapping[str, str]]], removed: Iterable[int]) -> None:
        """Take changes up for the next commit. What is added and removed is gone after it."""
        documents = [(_checked(docno), self._document(docno, texts)) for docno, texts in added]
        gone = [_checked(docno) for docno in removed]
        with self._writer_alone() as writer:
            for docno, document in documents:
                writer.delete_documents_by_term("docno", docno)
                if document is not None:
                    writer.add_document(document)
            for docno in gone:
                writer.delete_documents_by_term("docno", docno)

    def commit(self, seq: int) -> None:
        """Make it durable and searchable, together with `seq`."""
        marker = Document()
        marker.add_integer("docno", MARKER)
        marker.add_integer("applied", seq)
        with self._writer_alone() as writer:
            writer.delete_documents_by_term("docno", MARKER)
            writer.add_document(marker)
            writer.commit()
            self._index.reload()
            self._committed_seq = seq

    def close(self) -> None:
        """Let merges end, and the folder go. What was not committed is dropped."""
        with self._writing:
            writer, self._writer = self._writer, None
            if writer is not None:
                with (
                    suppress(OSError, CorruptIndex),
                    translate_errors(),
                ):  # it was told when it happened
                    writer.wait_merging_threads()

    def search(
        self,
        clauses: Sequence[TextClause],
        k: int,
        among: BitMap | BitMap64 | None = None,
        match_all: Sequence[str] = (),
    ) -> list[Found]:
        """The best k that match a clause, and have every word of `match_all`; ties by number.

        Scores add up over clauses and fields. Each word of `match_all` must stand in one of the
        fields of the clauses, and be spelled right.
        """
        queries = self._queries()
        asked = [(clause, queries.fields(clause.fields)) for clause in clauses]
        fields = list({field.name: field for _, some in asked for field in some}.values())
        with translate_errors():
            scored = queries.plain([clause for clause in clauses if not clause.syntax])
            for clause, some in asked:
                if clause.syntax and (query := parse_query_string(clause.query, queries, some)):
                    scored.append(query)
            if not scored or k < 1 or (among is not None and not among):
                return []
            required = [each for term in match_all for each in queries.required(term, fields)]
            return self._best(queries.searcher, all_of(any_of(scored), required), k, among)

    def match(self, field: str, operator: str, text: str) -> BitMap:
        """The numbers of all that match `$match_phrase`, `$match_all` or `$match_any`."""
        queries = self._queries()
        (one,) = queries.fields([field])
        if operator not in OPERATORS:
            raise ValueError(f"{operator} is no operator on text: there are {', '.join(OPERATORS)}")
        with translate_errors():
            query = queries.matching(one, operator, text)
            return BitMap() if query is None else self._all(queries.searcher, query)

    def highlights(self, text: str, document: str, field: str = "") -> list[tuple[int, int]]:
        """Where `document` has words of `text`: from and to, in characters."""
        analysis = self._fields[field].analysis if field in self._fields else self._any_analysis
        return analysis.marks(text, document)

    def _queries(self) -> QueryBuilder:
        with translate_errors():  # a searcher is of one commit, whatever happens meanwhile
            return QueryBuilder(self._schema, self._index.searcher(), self._fields)

    def _document(self, docno: int, texts: Mapping[str, str]) -> Document | None:
        document = Document()
        document.add_integer("docno", docno)
        for name, text in texts.items():
            if name not in self._fields:
                raise ValueError(f"there is no text field {name!r}")
            if text:
                document.add_text(self._fields[name].inner, readable(text))
        return document if document.num_fields > 1 else None

    @contextmanager
    def _writer_alone(self) -> Iterator[IndexWriter]:
        """The writer, until a write fails: the library then forgets changes without a word."""
        with self._writing:
            if self._writer is None:
                raise ValueError("the view is closed")
            if self._failure is not None:
                told = f"close the view and open it again, as a write failed: {self._failure}"
                raise OSError(EIO, told) from self._failure
            try:
                with translate_errors():
                    yield self._writer
            except BaseException as e:
                self._failure = e
                raise

    def _read_committed_seq(self) -> int:
        searcher = self._index.searcher()
        marker = Query.term_query(self._schema, "docno", MARKER)
        hits = searcher.search(marker, 1, count=False).hits
        values = searcher.fast_field_values("applied", [address for _, address in hits])
        return int(values[0] or 0) if values else 0

    def _all(self, searcher: Searcher, query: Query) -> BitMap:
        """In slices, as the library holds up every other thread while it hands hits over."""
        query = Query.const_score_query(query, 0.0)
        found = self._numbers(searcher, query, SLICE)
        if len(found) < SLICE:
            return BitMap(found)
        low, high = (
            searcher.search(query, 1, count=False, order_by_field="docno", order=order).hits[0][0]
            for order in (Order.Asc, Order.Desc)
        )
        count = searcher.search(query, 1).count  # type: ignore[attr-defined]  # not in the stubs
        width = (high - low) * SLICE // count + 1
        every = BitMap()
        for start in range(low, high + 1, width):
            bounds = (start, min(start + width - 1, high))
            one = Query.range_query(self._schema, "docno", FieldType.Integer, *bounds)
            every.update(self._numbers(searcher, all_of(query, [one]), min(width, count)))
        return every

    def _numbers(self, searcher: Searcher, query: Query, limit: int) -> list[int]:
        hits = searcher.search(query, limit, count=False).hits
        values = searcher.fast_field_values("docno", [address for _, address in hits])
        return [docno for docno in values if isinstance(docno, int)]

    def _best(
        self, searcher: Searcher, query: Query, k: int, among: BitMap | BitMap64 | None
    ) -> list[Found]:
        """Fetch more until k are found and the rest can't tie with them, or there is no rest.

        This takes a document's score to be the same to the last bit however many hits are asked for
        and whatever else the query requires. Floats added up in another order would not be; the
        library adds in the order of the words, as far as could be measured.
        """
        size = max(searcher.num_docs, 1)
        want = k + SPARE
        if among is not None:
            want = max(want, min(want * size // len(among), len(among)))
        while True:
            want = min(want, size)
            hits = searcher.search(query, want, count=False).hits
            docnos = searcher.fast_field_values("docno", [address for _, address in hits])
            found = [
                (docno, score)
                for docno, (score, _) in zip(docnos, hits, strict=True)
                if isinstance(docno, int) and (among is None or _holds(among, docno))
            ]
            no_rest = len(hits) < want or want == size
            if no_rest or (len(found) >= k and hits[-1][0] < found[k - 1][1]):
                found.sort(key=lambda each: (-each[1], each[0]))
                return found[:k]
            want *= WIDER
            if among is not None and want > len(among):
                # Looking up each member is cheaper than fetching so many hits.
                members = Query.term_set_query(self._schema, "docno", list(among))
                query, among, want = all_of(query, [members]), None, k + SPARE


def _holds(among: BitMap | BitMap64, docno: int) -> bool:
    return docno in among if docno < 1 << 32 or isinstance(among, BitMap64) else False


def _checked(docno: int) -> int:
    if not MARKER < docno < 1 << 63:
        raise ValueError(f"{docno} is not a document number")
    return docno
