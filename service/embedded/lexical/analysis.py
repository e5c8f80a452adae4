"""From a text to its words: cut, folded, stemmed in one language, with their places.

It does not know indexes, fields or queries. A change to what comes out here changes what is in the
files: raise ANALYSIS with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from unicodedata import combining, is_normalized, normalize

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

ANALYSIS = 2  # raise it when words are cut, folded or stemmed otherwise: old views are refused
MAX_WORD_BYTES = 120

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

Placed = list[tuple[int, str]]


class Analysis:
    """One language. Its words stand at the same places, and are as many, as those of any other."""

    def __init__(self, language: str) -> None:
        self.indexed = _analyzer(language, stop_words=True)
        self._content = _analyzer(language, stop_words=False)
        self._whole = _analyzer(None, stop_words=True)

    def words(self, text: str) -> list[str]:
        """The words to look for: without stop words, unless there are no others."""
        text = readable(text)
        return self._content.analyze(text) or self.indexed.analyze(text)

    def every(self, text: str) -> Placed:
        """Each word with its place, stop words too."""
        return _placed(self.indexed, text)

    def content(self, text: str) -> Placed:
        """Each word with its place, but for stop words, which leave a gap."""
        return _placed(self._content, text)

    def whole(self, text: str) -> list[str]:
        """Each word with its ending: for words that are not typed to their end."""
        return self._whole.analyze(readable(text))

    def marks(self, text: str, document: str) -> list[tuple[int, int]]:
        """Where `document` has words of `text`: from and to, in characters."""
        wanted = set(self.words(text))
        folded, starts, ends = _with_origins(encodable(document))
        places: list[tuple[int, int]] = []
        for token in self.indexed.pre_tokenize(folded).tokens:
            if token.text in wanted:
                start, end = starts[token.char_offset_from], ends[token.char_offset_to - 1]
                if places and start < places[-1][1]:  # one character, such as ½, can be two words
                    start, _ = places.pop()
                places.append((start, end))
        return places


def encodable(text: str) -> str:
    """Half of a surrogate pair is a character to Python, and to nobody else."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def readable(text: str) -> str:
    """The text as it is analyzed."""
    return normalize("NFKC", encodable(text))


def _analyzer(language: str | None, *, stop_words: bool) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(Tokenizer.regex(_WORD))
    builder = builder.filter(Filter.remove_long(MAX_WORD_BYTES)).filter(Filter.lowercase())
    if not stop_words and language is not None:
        with suppress(ValueError):  # some languages that can be stemmed have no list
            builder = builder.filter(
                Filter.custom_stopword(_ENGLISH.split())
                if language == "english"
                else Filter.stopword(language)
            )
    builder = builder.filter(Filter.ascii_fold())
    return (builder if language is None else builder.filter(Filter.stemmer(language))).build()


def _placed(analyzer: TextAnalyzer, text: str) -> Placed:
    tokens = analyzer.pre_tokenize(readable(text)).tokens
    return [(token.position, token.text) for token in tokens]


def _with_origins(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """The text as it is analyzed, and where each of its characters comes from: start and end."""
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
