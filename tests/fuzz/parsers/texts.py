"""Texts of queries: their analysis, the search for their words, and highlights."""

from __future__ import annotations

from service.embedded.lexical.index import LexicalIndex
from service.embedded.lexical.queries import OPERATORS, TextClause
from tests.fuzz.parsers.resources import scratch_folder

TEXTS = ["The cat sat on the mat", "NO_PROXY and dw-e11 of v10.2.0", "東京 にある ไทย straße Ä"]


def _index() -> LexicalIndex:
    index = LexicalIndex(scratch_folder(), ["chunk_text"])
    index.apply([(number, {"chunk_text": text}) for number, text in enumerate(TEXTS, 1)], [])
    index.commit(1)
    return index


INDEX = _index()


def query_text(data: bytes) -> None:
    text = data.decode(errors="replace")
    for typos in (False, True):
        hits = INDEX.search([TextClause(text, ("chunk_text",), typos=typos)], 10)
        assert {docno for docno, _ in hits} <= {1, 2, 3}
        for document in (*TEXTS, text):
            for start, end in INDEX.highlighter(text, "chunk_text", typos=typos)(document):
                assert 0 <= start < end <= len(document)
    for operator in OPERATORS:
        INDEX.match("chunk_text", operator, text)
