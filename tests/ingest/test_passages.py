"""Splitting of texts into passages: boundaries and completeness."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import CommandFailed
from service.ingest.formats.text_files import id_prefix
from service.ingest.inputs import find_inputs
from service.ingest.passages import MOST, WHOLE, Passage, size, split
from tests.ingest.parsing import error_messages, parse_files, records, write_file


def passages(text: str, *, markdown: bool = True) -> list[Passage]:
    return list(split(iter(io.StringIO(text).readlines()), markdown=markdown))


def sentence(words: int, mark: str = "word") -> str:
    return " ".join([mark.capitalize(), *[mark] * (words - 1)]) + "."


def test_section_is_passage_with_its_headings() -> None:
    text = f"# Guide\n{sentence(50)}\n\n## Install\n{sentence(60)}\n\n{sentence(70)}\n"
    assert passages(text) == [
        Passage(("Guide",), f"Guide\n\n{sentence(50)}"),
        Passage(("Guide", "Install"), f"Install\n\n{sentence(60)}\n\n{sentence(70)}"),
    ]


def test_small_sections_are_merged_under_common_headings() -> None:
    (passage,) = passages("# Guide\n## A\nOne.\n## B\nTwo.\n")
    assert passage == Passage(("Guide",), "Guide\n\nA\n\nOne.\n\nB\n\nTwo.")


def test_long_paragraph_is_split_between_sentences() -> None:
    sentences = [sentence(30, f"w{n}") for n in range(20)]
    found = passages(" ".join(sentences))
    assert len(found) == 4
    for passage in found:
        assert size(passage.text) <= MOST
        assert passage.text.endswith(".")
        assert passage.text[0] == "W"


def test_passage_ends_at_paragraph_boundary() -> None:
    found = passages("\n\n".join([sentence(130), sentence(50) + " " + sentence(60)]))
    assert [size(passage.text) for passage in found] == [130, 110]


def test_code_block_is_not_split_and_has_no_headings() -> None:
    code = "```sh\n# not a heading\n\n" + "run it now\n" * 80 + "```"
    found = passages(f"{sentence(150)}\n\n{code}\n\n{sentence(150)}")
    assert [passage.text for passage in found] == [sentence(150), code, sentence(150)]
    huge = "```\n" + "run it now\n" * 1000 + "```"
    assert all(size(passage.text) <= WHOLE for passage in passages(huge))


def test_list_items_are_not_split() -> None:
    items = [f"- {n} " + "word " * 40 for n in range(12)]
    for passage in passages("\n".join(items)):
        for line in passage.text.splitlines():
            assert line.strip() in [item.strip() for item in items]


def test_front_matter_is_skipped_but_not_a_line_of_dashes() -> None:
    assert passages("---\ntitle: x\n---\nText.\n") == [Passage((), "Text.")]
    assert passages("---\nText goes on.\n")[0].text == "---\nText goes on."
    assert passages("Title\n=====\nText.\n")[0].title == ("Title",)


def test_text_without_spaces_is_split() -> None:
    for text in ("字" * 10_000, "字句。" * 4_000, "x" * 200_000):
        found = passages(text, markdown=False)
        assert max(size(passage.text) for passage in found) <= MOST
        assert "".join(passage.text for passage in found) == text


WORDS = st.sampled_from(["a", "Word.", "字", "#", "##", "```", "- item", "\n", "\n\n", "---", "  "])


@given(st.lists(WORDS, max_size=400).map(" ".join), st.booleans())
def test_passages_contain_every_word_once_in_order(text: str, markdown: bool) -> None:
    """Only heading marks and front matter of Markdown may be dropped."""
    found = passages(text, markdown=markdown)
    said = " ".join(passage.text for passage in found).split()
    if not markdown:
        assert said == text.split()
    elif not text.lstrip().startswith("---"):
        marks = {"#", "##", "---", "```", "-"}
        assert [w for w in said if w not in marks] == [w for w in text.split() if w not in marks]


def test_folder_is_expanded_to_its_texts(tmp_path: Path) -> None:
    write_file(tmp_path / "b.md", "# Title\nText.\n")
    write_file(tmp_path / "a" / "deep.txt.gz", gzip.compress(b"Deep."))
    write_file(tmp_path / "a" / "image.png", b"x")
    write_file(tmp_path / "a" / "data.csv", b"x")
    write_file(tmp_path / "binary.txt", b"a\0b")
    write_file(tmp_path / ".hidden.md", "no")
    write_file(tmp_path / ".git" / "no.md", "no")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.txt").symlink_to("self.txt")
    items = parse_files(tmp_path)
    shallow, deep = f"{tmp_path.name}/b.md", f"{tmp_path.name}/a/deep.txt.gz"
    assert records(items) == [
        {"_id": f"{shallow}#0", "source": shallow, "title": "Title", "position": 0}
        | {"chunk_text": "Title\n\nText."},
        {"_id": f"{deep}#0", "source": deep, "position": 0, "chunk_text": "Deep."},
    ]
    (error,) = error_messages(items, tmp_path)
    assert error.startswith("self.txt: can't be read")
    skipped = find_inputs([str(tmp_path)], None).skipped
    assert skipped == {"binary": 1, "hidden": 2, "linked folders": 1, "other": 1, "data": 1}


def test_text_in_a_folder_may_be_utf16(tmp_path: Path) -> None:
    write_file(tmp_path / "note.txt", "Zoë keeps bread in a bag.\n".encode("utf-16"))
    assert records(parse_files(tmp_path))[0]["chunk_text"] == "Zoë keeps bread in a bag."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    write_file(tmp_path / "a.txt", "x").chmod(0)
    (tmp_path / "b").mkdir(mode=0)
    assert len(error_messages(parse_files(tmp_path), tmp_path)) == 2


def test_invalid_utf8_is_reported_and_earlier_passages_are_kept(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.txt", (sentence(190) + "\n\n").encode() * 90 + b"\xff\n")
    items = parse_files(path)
    (error,) = error_messages(items, tmp_path)
    count = len(records(items))
    assert count > 10
    assert error == (
        "a.txt: is not valid UTF-8: say which encoding it has, such as --encoding windows-1251; "
        f"what comes after passage {count - 1} is left out"
    )


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a.csv": "x"}, "in a folder only texts and Markdown are loaded"),
        ({"a.png": "x"}, "there is no .txt, .md or .markdown file in it"),
        ({}, "there is no .txt, .md or .markdown file in it"),
    ],
)
def test_folder_without_texts_is_rejected(
    tmp_path: Path, files: dict[str, str], sentence: str
) -> None:
    for name, content in files.items():
        write_file(tmp_path / name, content)
    with pytest.raises(CommandFailed, match=sentence):
        find_inputs([str(tmp_path)], None)


def test_files_with_equal_ids_are_rejected(tmp_path: Path) -> None:
    one, two = (write_file(tmp_path / name / "docs" / "a.md", "x") for name in "ab")
    for paths in ([one, two], [one.parent, two.parent]):
        with pytest.raises(CommandFailed, match=r"get the ids docs/a\.md#.* a --prefix of its own"):
            find_inputs(list(map(str, paths)), None)


def test_source_has_name_of_folder_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "p1" / "index.md", "x")
    write_file(tmp_path / "p2" / "index.md", "x")

    def source(argument: str, prefix: str | None = None) -> str:
        (input,) = find_inputs([argument], None, prefix).inputs
        return input.source

    monkeypatch.chdir(tmp_path)
    for argument in ("p1", "p1/", "./p1", "p2/../p1", str(tmp_path / "p1"), "p1/index.md"):
        assert source(argument) == "p1/index.md"
    assert source("p2") == "p2/index.md"
    assert (
        source("p1", "notes/2024") == source("p1/index.md", "notes/2024") == "notes/2024/index.md"
    )
    assert source("p1", "") == "index.md"
    monkeypatch.chdir(tmp_path / "p1")
    assert source(".") == source("index.md") == source("../p1") == "p1/index.md"


@pytest.mark.parametrize("path", ["a b.md", "é.md", "%C3%A9.md", "a\udcff", "é" * 300, "é" * 301])
def test_id_prefix_is_bounded_ascii_and_unique_per_path(path: str) -> None:
    prefix = id_prefix(path)
    assert prefix.isascii()
    assert prefix.isprintable()
    assert len(prefix) <= 500
    for other in ("é.md", "%C3%A9.md", "é" * 300, "é" * 301, "a\udcff"):
        assert (id_prefix(other) == prefix) is (other == path)
    assert id_prefix("a b/c#1.md") == "a b/c#1.md"


@pytest.mark.parametrize("word", ["a ", "x"])
def test_text_without_sentences_is_split_in_linear_time(word: str) -> None:
    text = word * (1_800_000 // len(word))
    found = [each.text for each in split(iter([text]), markdown=False)]
    assert "".join(found).replace(" ", "") == text.replace(" ", "")
    assert max(map(size, found)) <= MOST
