"""Stemming for the built-in reranker: words in lower case, without accents and endings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from unicodedata import normalize

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

# Scripts without spaces between words: each character is a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_UNSPACED}]|[[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]+"
_ASCII_WORD = re.compile(r"[^\W_]+")  # three times as fast
_MAX_WORD_CHARS = 60
_FUNCTION_WORDS = """
    a about after all also am an and any are as at be been being both but by can could did do does
    done during each for from had has have having he her here him his how i if in into is it its
    itself just may me might more most must my no nor not of off on only or other our out over own
    s same shall she should so some such t than that the their them then there these they this
    those through to too under until up upon us very was we were what when where whether which
    while who whom
    whose why will with within without would you your
    """


class Stemmer:
    """Stems the words of texts, with a cache. Thread-safe."""

    def __init__(self, language: str = "english") -> None:
        function_words = frozenset(_FUNCTION_WORDS.split() if language == "english" else ())
        stemming = [Filter.ascii_fold(), Filter.stemmer(language)]
        analyzer = _analyzer(Tokenizer.raw(), stemming)
        if not function_words:
            with suppress(ValueError):  # some languages with a stemmer have no stop word list
                analyzer = _analyzer(Tokenizer.raw(), [Filter.stopword(language), *stemming])

        @lru_cache(maxsize=65_536)
        def stem(word: str) -> str:
            """Return the stem, empty for a function word."""
            return (
                "" if word in function_words else "".join(analyzer.analyze(word[:_MAX_WORD_CHARS]))
            )

        self._stem = stem
        self._splitter = _analyzer(Tokenizer.regex(_WORD), [])

    def stems(self, text: str) -> list[str]:
        """Return the stems of the words, in order. The text must be encodable in UTF-8."""
        stem = self._stem
        return [found for word in self._words(text) if (found := stem(word))]

    def words_by_stem(self, text: str) -> dict[str, str]:
        """Return a word for each stem."""
        return {found: word for word in self._words(text) if (found := self._stem(word))}

    def _words(self, text: str) -> list[str]:
        if text.isascii():
            return _ASCII_WORD.findall(text.lower())
        return self._splitter.analyze(normalize("NFKC", text).lower())


def _analyzer(tokenizer: Tokenizer, filters: Sequence[Filter]) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(tokenizer)
    for each in filters:
        builder = builder.filter(each)
    return builder.build()
