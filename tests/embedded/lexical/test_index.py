"""Lexical index: search, ranking, and recovery after a crash."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap, BitMap64

from service.embedded.lexical.files import CorruptIndex, IndexInUse
from service.embedded.lexical.index import LexicalIndex
from service.embedded.lexical.queries import MAX_TERMS, TextClause

EVERYTHING = 1_000_000
FIELDS = ["text"]
COLOURS = ["red", "green", "blue", "black", "white", "grey"]


@pytest.fixture
def view(tmp_path: Path) -> Iterator[LexicalIndex]:
    view = LexicalIndex(tmp_path / "view", FIELDS)
    yield view
    view.close()


def put(view: LexicalIndex, added: Iterable[tuple[int, str]], removed: Iterable[int]) -> None:
    view.apply([(docno, {"text": text}) for docno, text in added], removed)


def find(
    view: LexicalIndex,
    text: str,
    k: int,
    among: BitMap | BitMap64 | None = None,
    match_all: Sequence[str] = (),
    typos: bool = False,
) -> list[tuple[int, float]]:
    return view.search([TextClause(text, (), typos=typos)], k, among, match_all)


def fill(view: LexicalIndex, *texts: str, seq: int = 1) -> None:
    put(view, enumerate(texts, 1), [])
    view.commit(seq)


def numbers(found: Iterable[tuple[int, float]]) -> list[int]:
    return [docno for docno, _ in found]


def marked(view: LexicalIndex, text: str, document: str) -> list[str]:
    return [document[start:end] for start, end in view.highlighter(text)(document)]


# Commits


def test_new_index_is_empty(view: LexicalIndex) -> None:
    assert view.committed_seq == 0
    assert find(view, "red", 10) == []


def test_reopened_index_has_committed_changes_only(tmp_path: Path) -> None:
    view = LexicalIndex(tmp_path, FIELDS)
    put(view, [(1, "red")], [])
    assert find(view, "red", 10) == []
    view.commit(41)
    put(view, [(2, "red")], [1])
    assert numbers(find(view, "red", 10)) == [1]
    view.close()

    again = LexicalIndex(tmp_path, FIELDS)
    assert again.committed_seq == 41
    assert numbers(find(again, "red", 10)) == [1]
    again.close()


def test_commit_without_changes_advances_seq(view: LexicalIndex) -> None:
    view.commit(5)
    view.commit(2**40)
    assert view.committed_seq == 2**40


def test_apply_existing_docno_replaces_document(view: LexicalIndex) -> None:
    fill(view, "red", "green")
    put(view, [(1, "blue")], [])
    put(view, [(1, "black")], [])
    view.commit(2)
    assert [numbers(find(view, colour, 9)) for colour in COLOURS[:4]] == [[], [2], [], [1]]


def test_apply_added_and_removed_document_is_removed(view: LexicalIndex) -> None:
    put(view, [(1, "red"), (2, "red")], [1])
    view.commit(1)
    assert numbers(find(view, "red", 10)) == [2]


Change = tuple[int, str | None]
changes: st.SearchStrategy[list[Change]] = st.lists(
    st.tuples(st.integers(1, 12), st.one_of(st.none(), st.sampled_from(COLOURS)))
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=changes, after=changes)
def test_apply_is_idempotent_from_any_position(
    tmp_path_factory: pytest.TempPathFactory, before: list[Change], after: list[Change]
) -> None:
    folder = tmp_path_factory.mktemp("view")
    view = LexicalIndex(folder, FIELDS)
    kept: dict[int, str | None] = {}
    for again in (before, [*before, *after]):
        for docno, colour in again:
            kept[docno] = colour
            put(view, [] if colour is None else [(docno, colour)], [] if colour else [docno])
        view.commit(1)
    for colour in COLOURS:
        found = numbers(find(view, colour, EVERYTHING))
        assert found == sorted(docno for docno, now in kept.items() if now == colour)
    view.close()
    shutil.rmtree(folder)


def test_apply_rejected_change_drops_whole_call(view: LexicalIndex) -> None:
    for wrong in (0, -1, 2**63):
        with pytest.raises(ValueError, match="not a document number"):
            put(view, [(1, "red"), (wrong, "red")], [])
        with pytest.raises(ValueError, match="not a document number"):
            put(view, [(1, "red")], [wrong])
    view.commit(1)
    assert find(view, "red", 10) == []


def test_closed_index_rejects_changes(view: LexicalIndex) -> None:
    view.close()
    view.close()
    with pytest.raises(ValueError, match="closed"):
        put(view, [(1, "red")], [])
    with pytest.raises(ValueError, match="closed"):
        view.commit(1)


def test_search_sees_commits_atomically(view: LexicalIndex) -> None:
    """Each commit replaces twenty documents by twenty others while three threads search."""
    generation, stop = 20, threading.Event()
    seen: list[list[int]] = []

    def look() -> None:
        while not stop.is_set():
            seen.append(numbers(find(view, "red", 100)))

    fill(view, *["red"] * generation)
    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    for first in range(1, 200, generation):
        new = range(first + generation, first + 2 * generation)
        put(view, [(docno, "red") for docno in new], range(first, first + generation))
        view.commit(first)
    stop.set()
    for looker in lookers:
        looker.join()
    assert seen
    for found in seen:
        assert found == list(range(found[0], found[0] + generation))
        assert found[0] % generation == 1


WRITE_ON = """
import sys
from pathlib import Path
from service.embedded.lexical.index import LexicalIndex

view = LexicalIndex(Path(sys.argv[1]), ["text"])
seq = view.committed_seq
while True:
    seq += 1
    new = [(seq * 10 + n, {"text": "red"}) for n in range(5)]
    view.apply(new, [(seq - 1) * 10] if seq > 1 else [])
    view.commit(seq)
    print(seq, flush=True)
"""


def test_sigkill_keeps_last_commit_and_its_seq(tmp_path: Path) -> None:
    """The kill follows an acknowledged commit at once, mostly in the middle of the next one."""
    dice = random.Random(7)
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_ON, str(tmp_path)],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            told = [int(process.stdout.readline()) for _ in range(dice.randrange(1, 7))]
            for _ in range(dice.randrange(400_000)):
                pass
            process.kill()
            told += [int(line) for line in process.stdout]
        view = LexicalIndex(tmp_path, FIELDS)
        assert view.committed_seq in (told[-1], told[-1] + 1)
        expected = [seq * 10 + n for seq in range(1, view.committed_seq + 1) for n in range(1, 5)]
        expected.append(view.committed_seq * 10)
        assert numbers(find(view, "red", EVERYTHING)) == sorted(expected)
        view.close()


# A folder that can't be used


def test_open_detects_flipped_bit(tmp_path: Path) -> None:
    view = LexicalIndex(tmp_path / "good", FIELDS)
    fill(view, *COLOURS)
    put(view, [], [2])
    view.commit(2)
    view.close()
    files = [path for path in (tmp_path / "good").iterdir() if path.stat().st_size and path.suffix]
    assert {".idx", ".term", ".fast", ".del", ".json"} <= {path.suffix for path in files}
    for path in files:
        folder = tmp_path / "bad"
        shutil.copytree(tmp_path / "good", folder)
        data = bytearray(path.read_bytes())
        data[0] ^= 0x80
        (folder / path.name).write_bytes(data)
        with pytest.raises(CorruptIndex) as first:
            LexicalIndex(folder, FIELDS)
        with pytest.raises(
            CorruptIndex
        ):  # and not in use by the first attempt, which `first` holds
            LexicalIndex(folder, FIELDS)
        assert first.value
        shutil.rmtree(folder)
    rebuilt = LexicalIndex(tmp_path / "bad", FIELDS)
    assert rebuilt.committed_seq == 0
    rebuilt.close()


@pytest.mark.parametrize("size", [0, 4, 100])
def test_open_detects_truncated_or_missing_file(tmp_path: Path, size: int) -> None:
    view = LexicalIndex(tmp_path, FIELDS)
    fill(view, *COLOURS)
    view.close()
    (path,) = tmp_path.glob("*.idx")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptIndex):
        LexicalIndex(tmp_path, FIELDS)
    path.unlink()
    with pytest.raises(CorruptIndex):
        LexicalIndex(tmp_path, FIELDS)


def test_open_ignores_files_of_unfinished_commit(tmp_path: Path) -> None:
    view = LexicalIndex(tmp_path, FIELDS)
    fill(view, *COLOURS)
    view.close()
    (path,) = tmp_path.glob("*.idx")
    (tmp_path / f"{'0' * 32}.idx").write_bytes(b"half")
    for opstamp in range(100):  # one of them is that of the next commit
        (tmp_path / f"{path.stem}.{opstamp}.del").write_bytes(b"half")
    again = LexicalIndex(tmp_path, FIELDS)
    assert again.committed_seq == 1
    put(again, [], [1])
    again.commit(2)
    assert find(again, "red", 10) == []
    again.close()


def test_open_with_other_language_raises_corrupt_index(tmp_path: Path) -> None:
    LexicalIndex(tmp_path, FIELDS).close()
    with pytest.raises(CorruptIndex):
        LexicalIndex(tmp_path, FIELDS, languages={"text": "german"})


def test_unknown_language_raises_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="klingon"):
        LexicalIndex(tmp_path, FIELDS, languages={"text": "klingon"})


def test_open_folder_in_use_raises_index_in_use(view: LexicalIndex, tmp_path: Path) -> None:
    fill(view, "red")
    with pytest.raises(IndexInUse):
        LexicalIndex(tmp_path / "view", FIELDS)


# Matching


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("RUNNING", "she runs"),
        ("cafe", "Café"),
        ("café", "cafe\N{COMBINING ACUTE ACCENT}"),
        ("naïve", "NAIVE"),
        ("office", "o\N{LATIN SMALL LIGATURE FFI}ce"),
        ("dog", "the dog’s"),
        ("neill", "O'Neill"),
        ("日本", "東京は日本の首都"),
        ("ไทย", "ภาษาไทย"),
        ("नमस्ते", "वह नमस्ते कहता है"),
        ("Привет", "ПРИВЕТ"),
        ("b52", "the B52"),
    ],
)
def test_search_ignores_case_accents_and_endings(
    view: LexicalIndex, text: str, document: str
) -> None:
    fill(view, "something else", document)
    assert numbers(find(view, text, 10)) == [2]


def test_search_stems_in_configured_language(tmp_path: Path) -> None:
    view = LexicalIndex(tmp_path, FIELDS, languages={"text": "german"})
    fill(view, "die Häuser", "das Haus", "die Maus")
    assert numbers(find(view, "die haeuser häusern", 10)) == [1, 2]
    view.close()


def test_index_skips_overlong_words(view: LexicalIndex) -> None:
    fill(view, "x" * 100_000 + " red")
    assert find(view, "x" * 100_000, 10) == []
    assert numbers(find(view, "red", 10)) == [1]


def test_query_of_stop_words_finds_documents(view: LexicalIndex) -> None:
    fill(view, "To be, or not to be: that is the question", "a red apple", "nothing")
    assert numbers(find(view, "to be or not to be", 10)) == [1]


def test_stop_words_are_ignored_beside_other_words(view: LexicalIndex) -> None:
    fill(view, "the apple of the tree", "the the the")
    assert numbers(find(view, "the apple", 10)) == [1]


def test_match_all_requires_every_word_and_keeps_scores(view: LexicalIndex) -> None:
    fill(view, "red apple", "green apple", "red pear", "red apples and a green pear")
    scores = dict(find(view, "apple", 10))
    assert numbers(find(view, "apple", 10, match_all=["red"])) == [1, 4]
    assert find(view, "apple", 10, match_all=["Pears", "red green"]) == [(4, scores[4])]
    assert find(view, "apple", 10, match_all=["red", "nowhere"]) == []
    assert dict(find(view, "apple", 10, match_all=["!"])) == scores


def test_typos_match_within_edit_distance(view: LexicalIndex) -> None:
    fill(view, "a chart", "a charm", "some char", "encyclopedia", "chips")
    assert find(view, "chrat", 10) == []
    assert numbers(find(view, "chrat", 10, typos=True)) == [1]
    assert numbers(find(view, "chart", 10, typos=True)) == [1, 2, 3]
    assert numbers(find(view, "enciclopedya", 10, typos=True)) == [4]
    assert find(view, "xy", 10, typos=True) == []


def test_exact_word_ranks_above_typo(
    view: LexicalIndex,
) -> None:
    long = "chart " + " ".join(f"w{n}" for n in range(500))
    fill(view, "charm", *["chart"] * 50, long)
    found = find(view, "chart", 100, typos=True)
    assert numbers(found)[-2:] == [52, 1]
    assert found[-2][1] > found[-1][1]


def test_match_all_does_not_allow_typos(view: LexicalIndex) -> None:
    fill(view, "red chart", "red charm")
    assert numbers(find(view, "red", 10, match_all=["charm"], typos=True)) == [2]


# The order


def test_repeated_query_word_counts_twice(view: LexicalIndex) -> None:
    fill(view, "red", "green", "red", "green", "blue")
    assert numbers(find(view, "red green green", 10)) == [2, 4, 1, 3]
    assert numbers(find(view, "red green red", 10)) == [1, 3, 2, 4]


def test_score_prefers_rare_words_and_short_texts(view: LexicalIndex) -> None:
    fill(view, "red apple", "red pear", "red pear and so many other words in between", "red")
    assert numbers(find(view, "red pear apple", 10)) == [1, 2, 3, 4]


def test_ties_are_ordered_by_docno(view: LexicalIndex) -> None:
    """More ties than the first fetch returns, in several segments that are not in order."""
    for seq, numbers_of_one in enumerate([range(400, 600), range(1, 200), range(200, 400)], 1):
        put(view, [(docno, "red") for docno in numbers_of_one], [])
        view.commit(seq)
    put(view, [(1000, "red red")], [])
    view.commit(9)
    assert numbers(find(view, "red", 5)) == [1000, 1, 2, 3, 4]
    assert numbers(find(view, "red", 250)) == [1000, *range(1, 250)]


def test_search_returns_at_most_k(view: LexicalIndex) -> None:
    fill(view, *COLOURS, "red")
    assert [len(find(view, "red green blue", k)) for k in (-1, 0, 1, 3, 4, 5, 10**12)] == [
        *(0, 0, 1, 3, 4, 4, 4)
    ]


CROWD = 3_000


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LexicalIndex]:
    """Short texts with many ties, in several segments, some of them deleted."""
    dice = random.Random(3)
    view = LexicalIndex(tmp_path_factory.mktemp("crowd"), FIELDS)
    for seq in range(3):
        docnos = range(seq * CROWD // 3 + 1, (seq + 1) * CROWD // 3 + 1)
        texts = [" ".join(dice.choices(COLOURS, range(1, 7), k=dice.randrange(9))) for _ in docnos]
        put(view, zip(docnos, texts, strict=True), dice.sample(docnos, 50))
        view.commit(seq + 1)
    yield view
    view.close()


amongs = st.one_of(
    st.sets(st.integers(1, CROWD + 10), max_size=60),
    st.builds(range, st.integers(1, CROWD), st.integers(1, CROWD + 10)),
    st.builds(range, st.integers(1, CROWD), st.just(CROWD), st.integers(1, 100)),
)


@settings(max_examples=150, deadline=None)
@given(
    words=st.lists(st.sampled_from(COLOURS), max_size=8),
    k=st.integers(0, 200),
    docnos=amongs,
    wide=st.booleans(),
    typos=st.booleans(),
    required=st.lists(st.sampled_from(COLOURS), max_size=1),
)
def test_search_with_candidates_equals_filtered_full_ranking(
    crowd: LexicalIndex,
    words: list[str],
    k: int,
    docnos: Iterable[int],
    wide: bool,
    typos: bool,
    required: list[str],
) -> None:
    text, among = " ".join(words), BitMap64(docnos) if wide else BitMap(docnos)
    ranking = find(crowd, text, EVERYTHING, match_all=required, typos=typos)
    assert ranking == sorted(ranking, key=lambda found: (-found[1], found[0]))
    expected = [found for found in ranking if found[0] in among][:k]
    assert find(crowd, text, k, among, match_all=required, typos=typos) == expected
    assert find(crowd, text, k, match_all=required, typos=typos) == ranking[:k]


def test_docnos_beyond_32_bits_are_in_no_32_bit_bitmap(view: LexicalIndex) -> None:
    put(view, [(7, "red"), (2**32 + 7, "red"), (2**63 - 1, "red")], [])
    view.commit(1)
    assert numbers(find(view, "red", 9)) == [7, 2**32 + 7, 2**63 - 1]
    assert numbers(find(view, "red", 9, BitMap([7]))) == [7]
    assert numbers(find(view, "red", 9, BitMap64([2**32 + 7, 2**63 - 1]))) == [
        *(2**32 + 7, 2**63 - 1)
    ]


# Any text is a query


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "\0",
            '"',
            'red"',
            "red OR",
            "AND",
            "-",
            "text:red",
            "*",
            "r*",
            "(",
            "[a TO",
            "\\",
        ),
        *(
            "red^2",
            "red~",
            "/x/",
            "🍎",
            "❤️",
            "\ud83c",
            "!?",
            "'",
            "\N{RIGHT-TO-LEFT MARK}",
            "é" * 99,
        ),
    ],
)
def test_search_accepts_any_text(crowd: LexicalIndex, text: str) -> None:
    assert bool(find(crowd, text, 3)) == ("red" in text)
    find(crowd, text, 3, match_all=[text], typos=True)
    assert ("red" in marked(crowd, text, text)) == ("red" in text)


@settings(max_examples=100, deadline=None)
@given(text=st.text(), document=st.text())
def test_highlights_accept_any_characters(crowd: LexicalIndex, text: str, document: str) -> None:
    find(crowd, text, 3, match_all=[text], typos=True)
    end = 0
    for start, stop in crowd.highlighter(text)(document):
        assert 0 <= start < stop <= len(document)
        assert start >= end
        end = stop


def test_apply_accepts_any_characters(view: LexicalIndex) -> None:
    fill(view, "\0 red \ud800 \U0010ffff", "", "red")
    assert numbers(find(view, "red", 9)) == [1, 3]


def test_search_uses_rarest_of_too_many_words(view: LexicalIndex) -> None:
    rare = [f"w{n}" for n in range(MAX_TERMS)]
    fill(view, "red", " ".join(rare[:600]), "red " + " ".join(rare[600:]))
    question = " ".join(["red", *rare, *(f"unknown{n}" for n in range(9_000))])
    assert sorted(numbers(find(view, question, 10))) == [2, 3]
    assert sorted(numbers(find(view, "red w1", 10))) == [1, 2, 3]


# Marks


@pytest.mark.parametrize(
    ("text", "document", "words"),
    [
        ("run the dogs", "Running with the DOG.", ["Running", "DOG"]),
        ("the", "the cat", ["the"]),
        ("cafe", "a cafe\N{COMBINING ACUTE ACCENT} here", ["cafe\N{COMBINING ACUTE ACCENT}"]),
        ("office", "my o\N{LATIN SMALL LIGATURE FFI}ce, x", ["o\N{LATIN SMALL LIGATURE FFI}ce"]),
        ("日本", "は日本の", ["日", "本"]),
        ("red", "🍎 red 🍎", ["red"]),
        ("1 20", "1 or ½0 or 1½", ["1", "½0"]),
        ("red", "green", []),
        ("", "green", []),
    ],
)
def test_highlights_return_spans_of_matched_words(
    view: LexicalIndex, text: str, document: str, words: list[str]
) -> None:
    assert marked(view, text, document) == words
