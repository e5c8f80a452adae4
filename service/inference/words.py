"""A text's words as the built-in reranker compares them: lower case, without accents, stemmed."""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import normalize

from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

# Scripts without spaces between words (Thai, Lao, Burmese, Khmer, Kana, Han): there every
# character is a word.
_SOLID = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_SOLID}]|(?:(?![{_SOLID}_])\w)+")
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


class Words:
    """Any thread may use it. Stems are kept, since words come again and again."""

    def __init__(self, language: str = "english") -> None:
        analyzer = (
            TextAnalyzerBuilder(Tokenizer.raw())
            .filter(Filter.ascii_fold())
            .filter(Filter.stemmer(language))
            .build()
        )

        @lru_cache(maxsize=65_536)
        def stem(word: str) -> str:
            return analyzer.analyze(word[:_LONGEST])[0]

        self.stem = stem
        self._unsaying = frozenset(_FUNCTION_WORDS.split())

    def of(self, text: str) -> list[str]:
        """The words in their order, without those that say nothing of what a text is about.

        They are not stemmed yet. The text must be one that can be encoded.
        """
        if text.isascii():
            words = _ASCII_WORD.findall(text.lower())
        else:
            words = _WORD.findall(normalize("NFKC", text).lower())
        return [word for word in words if word not in self._unsaying]
