"""The lexical index: full-text search, ranked by BM25.

It knows documents by number, with a text per field, and stores the sequence number of its last
commit. All words are indexed with their positions, stop words included. Joined words, such as
`NO_PROXY`, are indexed a second time as a whole, in a field of their own. A query drops its stop
words unless it has no others. So "to be or not to be" has results, phrases match exactly, and the
list of stop words can change without a rebuild.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import EIO
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from pyroaring import BitMap, BitMap64
from tantivy import Document, FieldType, Index, IndexWriter, Order, Query, SchemaBuilder, Searcher

from service.disk_space import is_disk_full
from service.embedded.lexical.analysis import ANALYSIS, NO_TYPOS, Analysis, joined_words, normalized
from service.embedded.lexical.files import CorruptIndex, check_files, translate_errors
from service.embedded.lexical.queries import (
    MARKER,
    OPERATORS,
    IndexedField,
    QueryBuilder,
    TextClause,
    all_of,
    any_of,
)
from service.embedded.lexical.syntax import parse_query_string

Hit: TypeAlias = tuple[int, float]  # document number and score

DEFAULT_LANGUAGE = "english"
IDENTIFIERS = "identifiers"  # the name of their tokenizer
HEAP_BYTES = 15_000_000
SPARE = 32  # hits fetched beyond k, to complete a tie at the end
FETCH_GROWTH = 4
SLICE = 20_000  # hits fetched at once where all are needed


class LexicalIndex:
    """Ranks documents by BM25. Thread-safe. `committed_seq` is the `seq` of the last commit."""

    def __init__(
        self, folder: Path, fields: Sequence[str], *, languages: Mapping[str, str] | None = None
    ) -> None:
        """Open or create the index. Raises `CorruptIndex` if it has other fields or languages."""
        languages = {name: (languages or {}).get(name, DEFAULT_LANGUAGE) for name in fields}
        used = {*languages.values(), DEFAULT_LANGUAGE}
        analyses = {language: Analysis(language) for language in used}
        self._default_analysis = analyses[languages[fields[0]] if fields else DEFAULT_LANGUAGE]
        self._fields = {
            name: IndexedField(name, f"text{at}", f"identifiers{at}", analyses[language])
            for at, (name, language) in enumerate(languages.items())
        }
        builder = SchemaBuilder()
        # Signed, because tantivy ignores deletions by a term of an unsigned field.
        builder.add_integer_field("docno", indexed=True, fast=True)
        builder.add_integer_field("applied", fast=True)
        # Everything that tokens depend on is in the schema: an index with another one won't open.
        tokenizers = {
            each.name: json.dumps([ANALYSIS, languages[each.name], each.name])
            for each in self._fields.values()
        }
        for each in self._fields.values():
            builder.add_text_field(each.stored_name, tokenizer_name=tokenizers[each.name])
            builder.add_text_field(
                each.identifiers_name, tokenizer_name=IDENTIFIERS, index_option="basic"
            )
        self._schema = builder.build()
        self._writing = Lock()
        self._failure: BaseException | None = None
        folder.mkdir(parents=True, exist_ok=True)
        with translate_errors():
            self._index = Index(self._schema, str(folder))
            for each in self._fields.values():
                self._index.register_tokenizer(tokenizers[each.name], each.analysis.indexed)
            whole = self._default_analysis.identifiers_indexed  # the same in every language
            self._index.register_tokenizer(IDENTIFIERS, whole)
            self._index.config_reader("manual")
            self._writer: IndexWriter | None = self._index.writer(HEAP_BYTES, 1)
            try:  # this is now the only writer
                _remove_garbage(self._writer)
                check_files(folder)
                self._index.reload()
                self.committed_seq = self._read_committed_seq()
            except BaseException:
                self.close()
                raise

    def apply(self, added: Iterable[tuple[int, Mapping[str, str]]], removed: Iterable[int]) -> None:
        """Add changes to the next commit. A document that is both added and removed is removed."""
        documents = [(_check_docno(docno), self._document(docno, texts)) for docno, texts in added]
        deleted = [_check_docno(docno) for docno in removed]
        with self._exclusive_writer() as writer:
            for docno, document in documents:
                writer.delete_documents_by_term("docno", docno)
                if document is not None:
                    writer.add_document(document)
            for docno in deleted:
                writer.delete_documents_by_term("docno", docno)

    def commit(self, seq: int) -> None:
        """Make all changes durable and searchable, together with `seq`."""
        marker = Document()
        marker.add_integer("docno", MARKER)
        marker.add_integer("applied", seq)
        with self._exclusive_writer() as writer:
            writer.delete_documents_by_term("docno", MARKER)
            writer.add_document(marker)
            writer.commit()
            self._index.reload()
            self.committed_seq = seq

    def close(self) -> None:
        """Wait for merges and unlock the folder, without committing."""
        with self._writing:
            writer, self._writer = self._writer, None
            if writer is not None:
                with (
                    suppress(OSError, CorruptIndex),
                    translate_errors(),
                ):  # reported before
                    writer.wait_merging_threads()

    def search(
        self,
        clauses: Sequence[TextClause],
        k: int,
        candidates: BitMap | BitMap64 | None = None,
        match_all: Sequence[str] = (),
    ) -> list[Hit]:
        """Return the k best documents that match a clause; equal scores are ordered by number.

        Scores add up over clauses and fields. Each word of `match_all` must occur, without typos,
        in one of the fields of the clauses.
        """
        queries = self._queries()
        clause_fields = [(clause, queries.fields(clause.fields)) for clause in clauses]
        fields = list({each.name: each for _, some in clause_fields for each in some}.values())
        with translate_errors():
            scored = queries.plain([clause for clause in clauses if not clause.syntax])
            for clause, some in clause_fields:
                if clause.syntax and (query := parse_query_string(clause.query, queries, some)):
                    scored.append(query)
            if not scored or k < 1 or (candidates is not None and not candidates):
                return []
            required = [each for term in match_all for each in queries.required(term, fields)]
            return self._best(queries.searcher, all_of(any_of(scored), required), k, candidates)

    def match(self, field: str, operator: str, text: str) -> BitMap:
        """Return all documents that match `$match_phrase`, `$match_all` or `$match_any`."""
        queries = self._queries()
        (resolved,) = queries.fields([field])
        if operator not in OPERATORS:
            known = ", ".join(OPERATORS)
            raise ValueError(f"{operator} is not an operator on text; use one of {known}")
        with translate_errors():
            query = queries.matching(resolved, operator, text)
            return BitMap() if query is None else self._all_matches(queries.searcher, query)

    def highlighter(
        self, text: str, field: str = "", *, typos: bool = False
    ) -> Callable[[str], list[tuple[int, int]]]:
        """Return a function that finds the words of `text` in a document.

        It returns the start and end of each of them, in characters.
        """
        indexed = self._fields.get(field)
        analysis = indexed.analysis if indexed else self._default_analysis
        allowed = NO_TYPOS
        if typos and indexed:
            with translate_errors():
                allowed = self._queries().typos(indexed, text)
        return analysis.highlighter(text, allowed)

    def _queries(self) -> QueryBuilder:
        with translate_errors():  # a searcher sees one commit only
            return QueryBuilder(self._schema, self._index.searcher(), self._fields)

    def _document(self, docno: int, texts: Mapping[str, str]) -> Document | None:
        document = Document()
        document.add_integer("docno", docno)
        for name, text in texts.items():
            if name not in self._fields:
                raise ValueError(f"there is no text field {name!r}")
            if text:
                analyzed = normalized(text)
                document.add_text(self._fields[name].stored_name, analyzed)
                if joined := joined_words(analyzed):
                    document.add_text(self._fields[name].identifiers_name, joined)
        return document if document.num_fields > 1 else None

    @contextmanager
    def _exclusive_writer(self) -> Iterator[IndexWriter]:
        """Lock the writer. It is unusable after a failed write: tantivy silently drops changes."""
        with self._writing:
            if self._writer is None:
                raise ValueError("the lexical index is closed")
            if self._failure is not None:
                message = f"an earlier write failed, so the index must be reopened: {self._failure}"
                raise OSError(EIO, message) from self._failure
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

    def _all_matches(self, searcher: Searcher, query: Query) -> BitMap:
        """Fetch all hits in slices, as tantivy holds the GIL while it converts hits."""
        query = Query.const_score_query(query, 0.0)
        found = self._fetch_docnos(searcher, query, SLICE)
        if len(found) < SLICE:
            return BitMap(found)
        low, high = (
            searcher.search(query, 1, count=False, order_by_field="docno", order=order).hits[0][0]
            for order in (Order.Asc, Order.Desc)
        )
        count = searcher.search(query, 1).count  # type: ignore[attr-defined]  # not in the stubs
        width = (high - low) * SLICE // count + 1
        matches = BitMap()
        for start in range(low, high + 1, width):
            bounds = (start, min(start + width - 1, high))
            one = Query.range_query(self._schema, "docno", FieldType.Integer, *bounds)
            matches.update(self._fetch_docnos(searcher, all_of(query, [one]), min(width, count)))
        return matches

    def _fetch_docnos(self, searcher: Searcher, query: Query, limit: int) -> list[int]:
        hits = searcher.search(query, limit, count=False).hits
        values = searcher.fast_field_values("docno", [address for _, address in hits])
        return [docno for docno in values if isinstance(docno, int)]

    def _best(
        self, searcher: Searcher, query: Query, k: int, candidates: BitMap | BitMap64 | None
    ) -> list[Hit]:
        """Fetch more hits until k are found and the rest can't tie with them, or all are fetched.

        This assumes that the score of a document is the same to the last bit for any number of hits
        and any added condition. tantivy sums in the order of the terms, as measured.
        """
        size = max(searcher.num_docs, 1)
        want = k + SPARE
        if candidates is not None:
            want = max(want, min(want * size // len(candidates), len(candidates)))
        while True:
            want = min(want, size)
            hits = searcher.search(query, want, count=False).hits
            docnos = searcher.fast_field_values("docno", [address for _, address in hits])
            found = [
                (docno, score)
                for docno, (score, _) in zip(docnos, hits, strict=True)
                if isinstance(docno, int) and (candidates is None or _contains(candidates, docno))
            ]
            is_last = len(hits) < want or want == size
            if is_last or (len(found) >= k and hits[-1][0] < found[k - 1][1]):
                found.sort(key=lambda each: (-each[1], each[0]))
                return found[:k]
            want *= FETCH_GROWTH
            if candidates is not None and want > len(candidates):
                # A query for the candidates is cheaper than fetching so many hits.
                members = Query.term_set_query(self._schema, "docno", list(candidates))
                query, candidates, want = all_of(query, [members]), None, k + SPARE


def _remove_garbage(writer: IndexWriter) -> None:
    """Delete files that no commit uses. On a full disk the list of files can't be written."""
    try:
        with translate_errors():
            writer.garbage_collect_files()
    except OSError as exc:
        if not is_disk_full(exc):
            raise


def _contains(candidates: BitMap | BitMap64, docno: int) -> bool:
    return docno in candidates if docno < 1 << 32 or isinstance(candidates, BitMap64) else False


def _check_docno(docno: int) -> int:
    if not MARKER < docno < 1 << 63:
        raise ValueError(f"{docno} is not a document number")
    return docno
