"""A generated corpus: records, questions and the true nearest neighbors, deterministic by seed.

The embedder is passed in. The data lies in a folder, so that a process that measures memory holds
no more of it than a batch.

A text has about 40 words: English function words, generated words by Zipf's law, and words of its
topic, by which the vectors cluster. A question is two to four words of one text, without function
words. Three fields select exactly 50 %, 1 % and 0.01 % of the records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]

TOP_K = 10
SELECTIVITIES = {"half": 2, "hundredth": 100, "rare": 10_000}  # field: number of values

WORDS = 30_000
TOPICS = 2_000
TOPIC_WORDS = 40
CHUNK = 10_000  # records generated at once; a corpus is a multiple of it
FUNCTION_WORDS = [
    *("the", "of", "and", "to", "in", "a", "is", "that", "it", "was", "for", "on", "are", "as"),
    *("with", "his", "they", "at", "be", "this", "from", "have", "or", "by", "one", "had", "not"),
    *("but", "what", "all", "were", "when", "we", "there", "can", "an", "your", "which", "their"),
    *("if", "do", "will", "each", "about", "how", "up", "out", "them", "then", "she", "many"),
    *("some", "so", "these", "would", "other", "into", "has", "more", "her", "two", "like"),
]
ONSETS = [*"bcdfghjklmnprstvwz", "bl", "br", "cl", "dr", "fl", "gr", "pl", "pr", "sh", "st", "th"]
VOWELS = [*"aeiouy", "ai", "ea", "ee", "oo", "ou"]
ENDS = ["", "", *"bdglnprstx", "ck", "ft", "ll", "mp", "nd", "ng", "nt", "rd", "rt", "sh", "ss"]
SHARES = (0.40, 0.15, 0.45)  # function words, general words, words of the topic


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in order of their numbers; the id of a record is its number."""

    numbers: Numbers
    texts: list[str]
    vectors: Vectors

    @property
    def ids(self) -> list[str]:
        return [str(number) for number in self.numbers]

    @property
    def fields(self) -> list[dict[str, str]]:
        return [
            {field: value_of(field, number) for field in SELECTIVITIES}
            for number in self.numbers.tolist()
        ]


@dataclass(frozen=True, slots=True)
class Question:
    """Words and their vector; the value and the true answers for each filter field."""

    words: str
    vector: Vectors
    values: dict[str, str]
    truth: dict[str, list[str]]  # by filter field; "" is without a filter


class Corpus:
    """A generated corpus in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        metadata = json.loads((folder / "metadata.json").read_bytes())
        self.records: int = metadata["records"]
        self.dimension: int = metadata["dimension"]
        self.text_bytes: int = metadata["text_bytes"]
        self.embedded_per_s: float = metadata["embedded_per_s"]

    def batches(self, size: int) -> Iterator[Batch]:
        """All records, a batch at a time."""
        with (
            (self._folder / "texts").open(encoding="ascii") as texts,
            (self._folder / "vectors").open("rb") as vectors,
        ):
            for start in range(0, self.records, size):
                numbers = np.arange(start, min(start + size, self.records))
                found = np.fromfile(vectors, np.float32, len(numbers) * self.dimension)
                lines = [texts.readline().rstrip("\n") for _ in numbers]
                yield Batch(numbers, lines, found.reshape(len(numbers), self.dimension))

    def questions(self) -> list[Question]:
        vectors = np.load(self._folder / "questions.npy")
        told = json.loads((self._folder / "questions.json").read_bytes())
        return [Question(vector=v, **each) for v, each in zip(vectors, told, strict=True)]


def value_of(field: str, number: int) -> str:
    """The value of a filter field; all values of a field are equally frequent."""
    return f"{field}{number % SELECTIVITIES[field]}"


def make(
    folder: Path,
    records: int,
    questions: int,
    embed: Callable[[Sequence[str]], Vectors],
    embed_questions: Callable[[Sequence[str], Iterator[Sequence[str]]], Vectors],
    clock: Callable[[], float],
    seed: int = 20_001,
) -> Corpus:
    """Generate a corpus. `embed_questions` may read all texts first."""
    if records % CHUNK:
        raise ValueError(f"the number of records has to be a multiple of {CHUNK:,}")
    folder.mkdir(parents=True)
    vocabulary = _Vocabulary(np.random.default_rng(seed))
    spent, text_bytes, dimension = 0.0, 0, 0
    with (folder / "texts").open("w") as texts, (folder / "vectors").open("wb") as vectors:
        for chunk in range(records // CHUNK):
            made = vocabulary.texts(np.random.default_rng((seed, chunk)), CHUNK)
            started = clock()
            found = embed(made)
            spent += clock() - started
            dimension = found.shape[1]
            found.astype(np.float32).tofile(vectors)
            texts.writelines(f"{text}\n" for text in made)
            text_bytes += sum(map(len, made))
    metadata = {
        "records": records,
        "dimension": dimension,
        "text_bytes": text_bytes,
        "embedded_per_s": records / spent,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    corpus = Corpus(folder)
    words = vocabulary.questions(np.random.default_rng((seed, 0, 1)), questions, corpus)
    asked = embed_questions(words, (batch.texts for batch in corpus.batches(CHUNK)))
    np.save(folder / "questions.npy", asked)
    (folder / "questions.json").write_text(json.dumps(_told(words, asked, corpus)))
    return corpus


def texts(records: int, seed: int = 20_001) -> Iterator[str]:
    """Generate only the texts."""
    vocabulary = _Vocabulary(np.random.default_rng(seed))
    for chunk in range(-(-records // CHUNK)):
        made = vocabulary.texts(np.random.default_rng((seed, chunk)), CHUNK)
        yield from made[: records - chunk * CHUNK]


def _told(words: list[str], vectors: Vectors, corpus: Corpus) -> list[dict[str, object]]:
    rng = np.random.default_rng(len(words))
    wanted = {field: rng.integers(0, n, len(words)) for field, n in SELECTIVITIES.items()}
    truth = nearest(corpus, vectors, wanted)
    return [
        {
            "words": text,
            "values": {field: f"{field}{wanted[field][at]}" for field in SELECTIVITIES},
            "truth": {field: found[at] for field, found in truth.items()},
        }
        for at, text in enumerate(words)
    ]


def nearest(
    corpus: Corpus, asked: Vectors, wanted: dict[str, Numbers]
) -> dict[str, list[list[str]]]:
    """The true answers by cosine, by brute force, without a filter and with each."""
    unit = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    best = {
        field: (
            np.full((len(asked), TOP_K), -np.inf, np.float32),
            np.zeros((len(asked), TOP_K), int),
        )
        for field in ("", *wanted)
    }
    for batch in corpus.batches(CHUNK):
        lengths = np.linalg.norm(batch.vectors, axis=1, keepdims=True)
        scores = (unit @ (batch.vectors / lengths).T).astype(np.float32)
        for field, (top, numbers) in best.items():
            if field:
                has = batch.numbers % SELECTIVITIES[field]
                scores_here = np.where(has[None, :] == wanted[field][:, None], scores, -np.inf)
            else:
                scores_here = scores
            all_scores = np.concatenate((top, scores_here), axis=1)
            all_numbers = np.concatenate(
                (numbers, np.broadcast_to(batch.numbers, scores.shape)), axis=1
            )
            at = np.argpartition(-all_scores, TOP_K - 1, axis=1)[:, :TOP_K]
            top[:] = np.take_along_axis(all_scores, at, axis=1)
            numbers[:] = np.take_along_axis(all_numbers, at, axis=1)
    return {
        field: [
            [str(number) for number, score in zip(row, own, strict=True) if np.isfinite(score)]
            for row, own in zip(numbers.tolist(), top.tolist(), strict=True)
        ]
        for field, (top, numbers) in best.items()
    }


class _Vocabulary:
    """Pronounceable words, their topics and their frequencies."""

    def __init__(self, rng: np.random.Generator) -> None:
        syllables = [a + b + c for a in ONSETS for b in VOWELS for c in ENDS]
        made: dict[str, None] = {}
        while len(made) < WORDS + len(FUNCTION_WORDS):
            parts = rng.choice(syllables, (WORDS, 3)).tolist()
            for part, size in zip(parts, rng.integers(1, 4, WORDS).tolist(), strict=True):
                made["".join(part[:size])] = None
        made = {word: None for word in made if word not in FUNCTION_WORDS}
        noise = dict(zip(made, rng.integers(0, 8, len(made)).tolist(), strict=True))
        ranked = sorted(made, key=lambda word: len(word) + noise[word])[
            :WORDS
        ]  # short words are common
        self._words = np.array([*FUNCTION_WORDS, *ranked])
        first = len(FUNCTION_WORDS)
        self._function = _zipf(first, 1.0)
        self._general = _zipf(WORDS, 1.0)
        self._topical = _zipf(TOPIC_WORDS, 0.9)
        self._topics = first + rng.choice(WORDS, (TOPICS, TOPIC_WORDS))

    def texts(self, rng: np.random.Generator, count: int) -> list[str]:
        lengths = rng.integers(30, 51, count)
        size = (count, 50)
        topics = rng.choice(TOPICS, count, p=_cumulated(_zipf(TOPICS, 0.5)))
        kinds = rng.choice(3, size, p=SHARES)
        function = self._function.searchsorted(rng.random(size))
        general = len(FUNCTION_WORDS) + self._general.searchsorted(rng.random(size))
        topical = self._topics[topics[:, None], self._topical.searchsorted(rng.random(size))]
        chosen = self._words[np.choose(kinds, (function, general, topical))]
        return [" ".join(row[:n]) for row, n in zip(chosen.tolist(), lengths.tolist(), strict=True)]

    def questions(self, rng: np.random.Generator, count: int, corpus: Corpus) -> list[str]:
        """Questions from records spread over the corpus."""
        sources = set(rng.choice(corpus.records, count, replace=False).tolist())
        found = []
        for batch in corpus.batches(CHUNK):
            for number, text in zip(batch.numbers.tolist(), batch.texts, strict=True):
                if number in sources:
                    own = [
                        word for word in dict.fromkeys(text.split()) if word not in FUNCTION_WORDS
                    ]
                    words = rng.choice(own, min(int(rng.integers(2, 5)), len(own)), replace=False)
                    found.append(" ".join(words.tolist()))
        return found


def _zipf(count: int, exponent: float) -> NDArray[np.float64]:
    """Cumulative Zipf distribution, for `searchsorted` with random numbers."""
    weights = 1 / np.arange(1, count + 1) ** exponent
    shares: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    shares[-1] = 1.0
    return shares


def _cumulated(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of each rank."""
    return np.diff(shares, prepend=0.0)
