"""Text analysis: splits a text into tokens, folds and stems them for one language.

A change to the tokens is a change to the index files: raise `ANALYSIS` with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from unicodedata import combining, is_normalized, normalize

from rapidfuzz.distance import OSA
from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

ANALYSIS = 3  # version of the analysis; an index of another version is rebuilt
MAX_TOKEN_BYTES = 120

# Scripts without spaces between words: each character is a token.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_SPACED_WORD = rf"[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]*"
_WORD = rf"[{_UNSPACED}]|{_SPACED_WORD}"
# Words that are joined as in NO_PROXY, dw-e11, v10.2.0, me@example.org or std::vector.
_IDENTIFIER = rf"{_SPACED_WORD}(?:(?:_*(?:[-.@]|::)_*|_+){_SPACED_WORD})+"
# Letters with hyphens, and single letters with dots.
_PROSE = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|[^\W\d_](?:\.[^\W\d_])*")
_JOINED = re.compile(r"[-_.@:]\w")  # is in every identifier

_ENGLISH_STOP_WORDS = """
    a about above after again against all am an and any are as at be because been before being
    below between both but by can cannot could did do does doing down during each few for from
    further had has have having he her here hers herself him himself his how i if in into is it
    its itself me more most my myself no nor not of off on once only or other ought our ours
    ourselves out over own s same she should so some such t than that the their theirs them
    themselves then there these they this those through to too under until up very was we were
    what when where which while who whom
    why will with would you your yours yourself yourselves
"""

Tokens = list[tuple[int, str]]  # with their positions
NO_TYPOS: Mapping[str, int] = {}


class Analysis:
    """The analyzers of one language. Token positions are the same in all languages."""

    def __init__(self, language: str) -> None:
        self.indexed = _analyzer(language, stop_words=True)
        self._content_analyzer = _analyzer(language, stop_words=False)
        self._unstemmed_analyzer = _analyzer(None, stop_words=True)
        self.identifiers_indexed = _analyzer(None, stop_words=True, pattern=_IDENTIFIER)

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query: without stop words, unless it has no others."""
        text = normalized(text)
        return self._content_analyzer.analyze(text) or self.indexed.analyze(text)

    def identifiers(self, query: str) -> list[str]:
        """Return the joined words of a query that are searched for as a whole, too.

        Those that occur in prose, such as `well-known` and `e.g.`, only if they are all of it.
        """
        joined = joined_words(normalized(query))
        if not joined:
            return []
        found = self.identifiers_indexed.analyze(joined)
        is_alone = len(query.split()) == 1
        return [each for each in found if is_alone or not _PROSE.fullmatch(each)]

    def tokens(self, text: str) -> Tokens:
        """Return all tokens, stop words included."""
        return _tokens(self.indexed, text)

    def content_tokens(self, text: str) -> Tokens:
        """Return the tokens without stop words, whose positions are left out."""
        return _tokens(self._content_analyzer, text)

    def unstemmed(self, text: str) -> list[str]:
        """Return the tokens with their endings, for the search by prefix."""
        return self._unstemmed_analyzer.analyze(normalized(text))

    def highlighter(
        self, text: str, typos: Mapping[str, int] = NO_TYPOS
    ) -> Callable[[str], list[tuple[int, int]]]:
        """Return a function that finds the words of `text` in a document.

        It returns the start and end of each of them, in characters. `typos` has the terms that
        also match within an edit distance.
        """
        terms, identifiers = set(self.query_terms(text)), set(self.identifiers(text))

        def find(document: str) -> list[tuple[int, int]]:
            folded, starts, ends = _with_origins(encodable(document))
            tokens = self.indexed.pre_tokenize(folded).tokens
            found = terms
            if typos:
                words = {token.text for token in tokens}
                found = terms | {each for each in words if _is_close(each, typos)}
            matches = [token for token in tokens if token.text in found]
            if identifiers:
                wholes = self.identifiers_indexed.pre_tokenize(folded).tokens
                matches += [token for token in wholes if token.text in identifiers]
            return _merged(
                (starts[match.char_offset_from], ends[match.char_offset_to - 1])
                for match in matches
            )

        return find


def encodable(text: str) -> str:
    """Replace lone surrogates, which Python allows in a string but UTF-8 does not."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def joined_words(text: str) -> str:
    """Return the part of a normalized text that can have identifiers: to analyze less is faster."""
    if _JOINED.search(text) is None:
        return ""
    return " ".join(word for word in text.split() if _JOINED.search(word))


def normalized(text: str) -> str:
    """Return the text in the form that is analyzed."""
    return normalize("NFKC", encodable(text))


def _analyzer(language: str | None, *, stop_words: bool, pattern: str = _WORD) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(Tokenizer.regex(pattern))
    builder = builder.filter(Filter.remove_long(MAX_TOKEN_BYTES)).filter(Filter.lowercase())
    if not stop_words and language is not None:
        with suppress(ValueError):  # some languages with a stemmer have no stop word list
            builder = builder.filter(
                Filter.custom_stopword(_ENGLISH_STOP_WORDS.split())
                if language == "english"
                else Filter.stopword(language)
            )
    builder = builder.filter(Filter.ascii_fold())
    return (builder if language is None else builder.filter(Filter.stemmer(language))).build()


def _tokens(analyzer: TextAnalyzer, text: str) -> Tokens:
    tokens = analyzer.pre_tokenize(normalized(text)).tokens
    return [(token.position, token.text) for token in tokens]


def _is_close(word: str, typos: Mapping[str, int]) -> bool:
    return any(
        OSA.distance(word, term, score_cutoff=distance) <= distance
        for term, distance in typos.items()
    )


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge overlaps: identifiers have words, and one character, such as ½, can be two tokens."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _with_origins(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """Return the normalized text, and the start and end of each character in the original."""
    if is_normalized("NFKC", text):
        return text, range(len(text)), range(1, len(text) + 1)
    bases = [at for at, char in enumerate(text) if at == 0 or not combining(char)]
    folded, starts, ends = "", list[int](), list[int]()
    for start, end in zip(bases, [*bases[1:], len(text)], strict=True):
        piece = normalize("NFKC", text[start:end])
        folded += piece
        starts += [start] * len(piece)
        ends += [end] * len(piece)
    return folded, starts, ends
