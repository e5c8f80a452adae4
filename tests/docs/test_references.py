"""Links and references in the documentation are valid, and generated parts are current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.web.search.request_schemas import SearchRequest
from tests.docs.markdown import FENCE, ROOT, pages
from tools.generate_docs import DOCS, GENERATED, stale_pages

PAGES = pages()
PATH = re.compile(r"`((?:service|tests|bench|config|docs|tools)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(#[^)\s]*)?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TARGET = re.compile(r"`make ([a-z-]+)[ `]")


def prose(page: str) -> str:
    return FENCE.sub("", (ROOT / page).read_text())


def anchors(path: Path) -> set[str]:
    """The anchors that both GitHub and MkDocs make of headings."""
    titles = HEADING.findall(FENCE.sub("", path.read_text()))
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_page_exist(page: str) -> None:
    missing = [path for path in PATH.findall(prose(page)) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_links_in_page_lead_to_a_file_and_a_heading(page: str) -> None:
    for target, anchor in LINK.findall(prose(page)):
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor.removeprefix("#") in anchors(path), f"{target}{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_in_page_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in TARGET.findall(prose(page)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_site_has_every_page() -> None:
    navigation = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(navigation) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_search_page_has_every_parameter() -> None:
    table = (DOCS / "search.md").read_text()
    assert [name for name in SearchRequest.model_fields if f"| `{name}` |" not in table] == []


def test_generated_tables_are_current() -> None:
    assert stale_pages(write=False) == [], "run `make generated`"


@pytest.mark.parametrize("name", GENERATED)
def test_stale_table_is_found_and_rewritten(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page, _ in GENERATED.values():
        (tmp_path / page).write_text((DOCS / page).read_text())
    monkeypatch.setattr("tools.generate_docs.DOCS", tmp_path)
    page, _ = GENERATED[name]
    text = (tmp_path / page).read_text()
    (tmp_path / page).write_text(text.replace("| `upstream_", "| `downstream_").replace("10", "11"))
    assert stale_pages(write=False) == [page]
    stale_pages(write=True)
    assert (tmp_path / page).read_text() == text
