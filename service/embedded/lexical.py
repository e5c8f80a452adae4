"""Lexical search: which documents have the words of a question, ranked by BM25.

A view of a change log that is kept elsewhere. It knows document numbers and texts; it does not know
ids, fields, filters, or what else is in the log. It can always be deleted and built again.

Every word is indexed, stop words too; a query drops its stop words unless it has no others. So "to
be or not to be" finds something, and the list of stop words can change without a rebuild.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock
from typing import TypeAlias
from unicodedata import combining, is_normalized, normalize

from pyroaring import BitMap, BitMap64
from tantivy import (
    Document,
    Filter,
    Index,
    IndexWriter,
    Occur,
    Query,
    SchemaBuilder,
    Searcher,
    TextAnalyzer,
    TextAnalyzerBuilder,
    Tokenizer,
)

Found: TypeAlias = tuple[int, float]

ANALYSIS = 1  # raise it when words are cut, folded or stemmed otherwise: old views are refused
HEAP_BYTES = 30_000_000
MAX_WORD_BYTES = 120
MAX_WORDS = 1_024  # of one query: the rarest
MAX_TYPO_WORDS = 16  # of one query: the rarest; the others must be spelled right
SHORTEST_TYPO, SHORTEST_TWO_TYPOS = 3, 8  # letters
TYPO_WORTH = 0.5  # of what a word as rare would be worth in a document of average length
SPARE = 32  # hits fetched beyond what was asked for, as a tie may go on there
WIDER = 4
MARKER = 0  # the number of the document that says how far the log has been applied

# Scripts without spaces between words: there every character is a word.
_SOLID = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_SOLID}]|[[\p{{L}}\p{{N}}]--[{_SOLID}]][[\p{{L}}\p{{N}}\p{{M}}]--[{_SOLID}]]*"

_ENGLISH = """
    a about above after again against all am an and any are as at be because been before being
    below between both but by can cannot could did do does doing down during each few for from
    further had has have having he her here hers herself him himself his how i if in into is it
    its itself me more most my myself no nor not of off on once only or other ought our ours
    ourselves out over own s same she should so some such t than that the their theirs them
    themselves then there these they this those through to too under until up very was we were
    what when where which while who whom why will with would you your yours yourself yourselves
"""


class DamagedView(Exception):
    """The folder holds no view that can be used: delete it and build it again."""


class ViewInUse(Exception):
    """Another writer, perhaps in another process, has the folder open."""


class LexicalView:
    """BM25 over one text per document number. Any thread may call anything."""

    def __init__(self, folder: Path, *, language: str = "english") -> None:
        self._every = _analyzer(language, stop_words=True)
        self._content = _analyzer(language, stop_words=False)
        name = f"words-{ANALYSIS}-{language}"  # in the schema, so that another analysis is refused
        builder = SchemaBuilder()
        # Signed, as the library deletes nothing, silently, by a term of an unsigned field.
        builder.add_integer_field("docno", indexed=True, fast=True)
        builder.add_integer_field("applied", fast=True)
        builder.add_text_field("text", tokenizer_name=name, index_option="freq")
        self._schema = builder.build()
        self._writing = Lock()
        folder.mkdir(parents=True, exist_ok=True)
        with _damage_told():
            self._index = Index(self._schema, str(folder))
            self._index.register_tokenizer(name, self._every)
            self._index.config_reader("manual")
            self._writer: IndexWriter | None = self._index.writer(HEAP_BYTES, 1)
            try:  # from here on nobody else writes
                self._writer.garbage_collect_files()
                _check_files(folder)
                self._index.reload()
                self._applied = self._read_applied()
            except BaseException:
                self.close()
                raise

    @property
    def applied(self) -> int:
        """How far the log is committed here."""
        return self._applied

    def apply(self, added: Iterable[tuple[int, str]], removed: Iterable[int]) -> None:
        """Take changes up for the next commit. What is added and removed is gone after it."""
        documents = [self._document(docno, text) for docno, text in added]
        gone = [_checked(docno) for docno in removed]
        with self._writing:
            writer = self._open_writer()
            for docno, document in documents:
                writer.delete_documents_by_term("docno", docno)
                writer.add_document(document)
            for docno in gone:
                writer.delete_documents_by_term("docno", docno)

    def commit(self, seq: int) -> None:
        """Make it durable and searchable, together with `seq`."""
        marker = Document()
        marker.add_integer("docno", MARKER)
        marker.add_integer("applied", seq)
        with self._writing:
            writer = self._open_writer()
            writer.delete_documents_by_term("docno", MARKER)
            writer.add_document(marker)
            writer.commit()
            self._index.reload()
            self._applied = seq

    def close(self) -> None:
        """Let merges end, and the folder go. What was not committed is dropped."""
        with self._writing:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.wait_merging_threads()

    def search(
        self,
        text: str,
        k: int,
        among: BitMap | BitMap64 | None = None,
        match_all: Sequence[str] = (),
        typos: bool = False,
    ) -> list[Found]:
        """The best k that have a word of `text`, and every word of `match_all`; ties by number.

        With `typos`, words of `text` may be misspelled, those of `match_all` never.
        """
        words = Counter(self._words(text))
        required = {word for term in match_all for word in self._words(term)}
        if k < 1 or (among is not None and not among):
            return []
        with _damage_told():
            searcher = self._index.searcher()  # of one commit, whatever happens meanwhile
            query = self._query(searcher, words, typos)
            if query is None:
                return []
            query = _all_of(query, [self._term(word) for word in sorted(required)])
            return self._best(searcher, query, k, among)

    def highlights(self, text: str, document: str) -> list[tuple[int, int]]:
        """Where `document` has words of `text`: from and to, in characters."""
        wanted = set(self._words(text))
        readable, starts, ends = _with_origins(_encodable(document))
        places: list[tuple[int, int]] = []
        for token in self._every.pre_tokenize(readable).tokens:
            if token.text in wanted:
                start, end = starts[token.char_offset_from], ends[token.char_offset_to - 1]
                if places and start < places[-1][1]:  # one character, such as ½, can be two words
                    start, _ = places.pop()
                places.append((start, end))
        return places

    def _document(self, docno: int, text: str) -> tuple[int, Document]:
        document = Document()
        document.add_integer("docno", _checked(docno))
        document.add_text("text", _readable(text))
        return docno, document

    def _open_writer(self) -> IndexWriter:
        if self._writer is None:
            raise ValueError("the view is closed")
        return self._writer

    def _read_applied(self) -> int:
        searcher = self._index.searcher()
        marker = Query.term_query(self._schema, "docno", MARKER)
        hits = searcher.search(marker, 1, count=False).hits
        values = searcher.fast_field_values("applied", [address for _, address in hits])
        return int(values[0] or 0) if values else 0

    def _words(self, text: str) -> list[str]:
        text = _readable(text)
        return self._content.analyze(text) or self._every.analyze(text)

    def _query(self, searcher: Searcher, counts: Counter[str], typos: bool) -> Query | None:
        frequency = {word: searcher.doc_freq("text", word) for word in counts}
        rarest = sorted(counts, key=lambda word: frequency[word])
        if not typos:
            rarest = [word for word in rarest if frequency[word]]
        clauses = [
            Query.boost_query(self._term(word), float(counts[word])) for word in rarest[:MAX_WORDS]
        ]
        if typos:
            clauses += self._misspelled(searcher, {w: counts[w] for w in rarest[:MAX_TYPO_WORDS]})
        if not clauses:
            return None
        return Query.boolean_query([(Occur.Should, clause) for clause in clauses])

    def _term(self, word: str) -> Query:
        return Query.term_query(self._schema, "text", word, index_option="freq")

    def _misspelled(self, searcher: Searcher, counts: dict[str, int]) -> Iterator[Query]:
        """What is like a word, or the word itself: it then counts on top of the word's BM25."""
        for word, count in counts.items():
            if len(word) < SHORTEST_TYPO:
                continue
            distance = 2 if len(word) >= SHORTEST_TWO_TYPOS else 1
            like = Query.fuzzy_term_query(self._schema, "text", word, distance)
            having = searcher.search(like, 1).count  # type: ignore[attr-defined]
            rarity = math.log1p((searcher.num_docs - having + 0.5) / (having + 0.5))
            yield Query.const_score_query(like, TYPO_WORTH * count * rarity)

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
                query, among, want = _all_of(query, [members]), None, k + SPARE


def _holds(among: BitMap | BitMap64, docno: int) -> bool:
    return docno in among if docno < 1 << 32 or isinstance(among, BitMap64) else False


def _all_of(query: Query, conditions: Sequence[Query]) -> Query:
    """The same scores, of fewer documents."""
    if not conditions:
        return query
    unscored = [(Occur.Must, Query.const_score_query(each, 0.0)) for each in conditions]
    return Query.boolean_query([(Occur.Must, query), *unscored])


def _analyzer(language: str, *, stop_words: bool) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(Tokenizer.regex(_WORD))
    builder = builder.filter(Filter.remove_long(MAX_WORD_BYTES)).filter(Filter.lowercase())
    if not stop_words:
        with suppress(ValueError):  # some languages that can be stemmed have no list
            builder = builder.filter(
                Filter.custom_stopword(_ENGLISH.split())
                if language == "english"
                else Filter.stopword(language)
            )
    return builder.filter(Filter.ascii_fold()).filter(Filter.stemmer(language)).build()


def _checked(docno: int) -> int:
    if not MARKER < docno < 1 << 63:
        raise ValueError(f"{docno} is not a document number")
    return docno


def _encodable(text: str) -> str:
    """Half of a surrogate pair is a character to Python, and to nobody else."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _readable(text: str) -> str:
    return normalize("NFKC", _encodable(text))


def _with_origins(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """The text as it is analyzed, and where each of its characters comes from: start and end."""
    if is_normalized("NFKC", text):
        return text, range(len(text)), range(1, len(text) + 1)
    bases = [at for at, char in enumerate(text) if at == 0 or not combining(char)]
    readable, starts, ends = "", list[int](), list[int]()
    for start, end in zip(bases, [*bases[1:], len(text)], strict=True):
        piece = normalize("NFKC", text[start:end])
        readable += piece
        starts += [start] * len(piece)
        ends += [end] * len(piece)
    return readable, starts, ends


def _check_files(folder: Path) -> None:
    """Compare the committed files to the checksums at their ends, and clear up after a crash.

    The library does not compare when it opens them; a flipped bit would come up as a wrong answer.
    And it refuses to commit if a crash in a commit left a list of deleted documents: it writes the
    list of the same name again, as the same changes are applied again, and finds it there.
    """
    if not (folder / "meta.json").exists():
        return
    for segment in json.loads((folder / "meta.json").read_bytes())["segments"]:
        stem = segment["segment_id"].replace("-", "")
        deletes = segment["deletes"] and f"{stem}.{segment['deletes']['opstamp']}.del"
        for path in folder.glob(f"{stem}.*"):
            if path.suffix != ".del" or path.name == deletes:
                _check_file(path)
            else:
                path.unlink()


def _check_file(path: Path) -> None:
    with path.open("rb") as file:
        data = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    end = len(data) - 8  # the length of the footer, and a magic number
    start = end - int.from_bytes(data[end : end + 4], "little")
    if json.loads(bytes(data[start:end]))["crc"] != zlib.crc32(data[:start]):
        raise DamagedView(f"{path.name} is damaged")


@contextmanager
def _damage_told() -> Iterator[None]:
    """The library says ValueError to most things; what is done here only fails for its files."""
    try:
        yield
    except ValueError as e:
        if "LockBusy" in str(e):
            raise ViewInUse(str(e)) from e
        raise DamagedView(str(e)) from e
    except BaseException as e:
        if type(e).__name__ != "PanicException":  # which can't be imported
            raise
        raise DamagedView(str(e)) from e
