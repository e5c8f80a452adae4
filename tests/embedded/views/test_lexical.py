"""LexicalView: what searches see while it is opened again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.embedded.lexical.queries import TextClause
from service.embedded.schema import Schema, TextField
from service.embedded.storage.store import Document
from service.embedded.views.lexical import LexicalView

SCHEMA = Schema({"body": TextField(embed=False, full_text=True)})


@pytest.fixture
def view(tmp_path: Path) -> Iterator[LexicalView]:
    """A view with one document, saved as change 1."""
    view = LexicalView(tmp_path / "lexical", SCHEMA)
    assert view.open() is None
    view.apply([document(1)], [])
    view.save(1)
    yield view
    view.close()


def document(docno: int) -> Document:
    return Document(docno, "n", str(docno), {"body": "tea"}, {})


def found(view: LexicalView) -> set[int]:
    return {docno for docno, _ in view.index.search([TextClause("tea", ("body",))], 10)}


def test_reopened_view_has_last_save(view: LexicalView) -> None:
    view.apply([document(2)], [])
    assert view.open() == 1
    assert found(view) == {1}
    view.apply([document(3)], [])
    view.save(2)
    assert found(view) == {1, 3}


def test_view_that_cannot_be_reopened_is_still_searchable(
    view: LexicalView, tmp_path: Path
) -> None:
    folder = tmp_path / "lexical"
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("not a folder")
    for _ in range(2):
        with pytest.raises(OSError, match="lexical"):
            view.open()
        assert found(view) == {1}


@pytest.mark.parametrize("harm", ["deleted", "damaged"])
def test_lost_view_is_searchable_until_reset(view: LexicalView, tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "lexical"
    if harm == "deleted":
        shutil.rmtree(folder)
    else:
        (folder / "meta.json").write_text("{")
    for _ in range(2):
        assert view.open() is None
        assert found(view) == {1}
    view.reset()
    assert found(view) == set()
    view.apply([document(2)], [])
    view.save(2)
    assert found(view) == {2}
