"""Marked words in wrapped text."""

from __future__ import annotations

from service.commands.terminal import Style, marked, wrapped


def test_marks_are_bold_on_a_terminal_and_brackets_elsewhere() -> None:
    text = marked("Hot bread, old bread", [(4, 9), (15, 20)])
    assert list(Style(False).marks([text])) == ["Hot [bread], old [bread]"]
    assert list(Style(True).marks([text])) == ["Hot \x1b[1mbread\x1b[0m, old \x1b[1mbread\x1b[0m"]


def test_marks_that_reach_into_the_next_line_are_closed_and_opened_again() -> None:
    lines = wrapped(marked("a very long name", [(2, 16)]), 8, 9)
    assert list(Style(False).marks(lines)) == ["a [very]", "[long]", "[name]"]


def test_marks_in_the_text_itself_are_no_marks() -> None:
    assert list(Style(True).marks([marked("⟦x⟧ y", [])])) == ["[x] y"]
