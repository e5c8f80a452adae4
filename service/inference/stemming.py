"""A text's words as the built-in reranker compares them: lower case, without accents, stemmed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from unicodedata import normalize

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

# Scripts without spaces between words: there every character is a word.
_SOLID = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_SOLID}]|[[\p{{L}}\p{{N}}\p{{M}}]--[{_SOLID}]]+"
_ASCII_WORD = re.compile(r"[^\W_]+")  # the same for most texts, and three times as fast
_LONGEST = 60
_FUNCTION_WORDS = """
    a about after all also am an and any are as at be been being both but by can could did do does
    done during each for from had has have having he her here him his how i if in into is it its
    itself just may me might more most must my no nor not of off on only or other our out over own
    s same shall she should so some such t than that the their them then there these they this
    those through to too under until up upon us very was we were what when where whether which
    while who whom whose why will with within without would you your
    """


class Stemmer:
    """Any thread may use it. Stems are kept, since words come again and again."""

    def __init__(self, language: str = "english") -> None:
        unsaying = frozenset(_FUNCTION_WORDS.split() if language == "english" else ())
        stemming = [Filter.ascii_fold(), Filter.stemmer(language)]
        analyzer = _analyzer(Tokenizer.raw(), stemming)
        if not unsaying:
            with suppress(ValueError):  # some languages that can be stemmed have no list
                analyzer = _analyzer(Tokenizer.raw(), [Filter.stopword(language), *stemming])

        @lru_cache(maxsize=65_536)
        def stem(word: str) -> str:
            """Empty for a word that says nothing of what a text is about."""
            return "" if word in unsaying else "".join(analyzer.analyze(word[:_LONGEST]))

        self._stem = stem
        self._cut = _analyzer(Tokenizer.regex(_WORD), [])

    def of(self, text: str) -> list[str]:
        """The stems of the words, in their order. The text must be one that can be encoded."""
        stem = self._stem
        return [found for word in self._words(text) if (found := stem(word))]

    def written(self, text: str) -> dict[str, str]:
        """Each stem with a word that has it."""
        return {found: word for word in self._words(text) if (found := self._stem(word))}

    def _words(self, text: str) -> list[str]:
        if text.isascii():
            return _ASCII_WORD.findall(text.lower())
        return self._cut.analyze(normalize("NFKC", text).lower())


def _analyzer(tokenizer: Tokenizer, filters: Sequence[Filter]) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(tokenizer)
    for each in filters:
        builder = builder.filter(each)
    return builder.build()
