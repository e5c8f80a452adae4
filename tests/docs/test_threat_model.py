"""The threat model: every line names a test, and every test that it names exists."""

from __future__ import annotations

import ast
import itertools
import re

from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text()
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
OWASP = re.compile(r"^\| API(\d+) ", re.MULTILINE)


def rows() -> list[str]:
    """The rows of the tables, without their heads."""
    lines = PAGE.splitlines()
    return [
        line
        for before, line in itertools.pairwise(lines)
        if line.startswith("| ") and before.startswith("|")
    ]


def test_line_of_threat_model_names_its_test() -> None:
    assert len(rows()) > 50
    assert [row for row in rows() if not TEST_ID.search(row)] == []


def test_test_of_threat_model_exists() -> None:
    for path, name in set(TEST_ID.findall(PAGE)):
        assert (ROOT / path).is_file(), path
        tree = ast.parse((ROOT / path).read_text())
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        assert name in {each.name for each in tree.body if isinstance(each, functions)}, name


def test_threat_model_has_each_line_of_owasp() -> None:
    assert OWASP.findall(PAGE) == [str(number) for number in range(1, 11)]
