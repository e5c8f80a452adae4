"""Generates the tables of settings and of errors in docs/ from the code.

`python -m tools.generate_docs` rewrites the part of each page between `<!-- generated: NAME -->`
and `<!-- end of generated -->`. With `--check` it writes nothing, and fails if a page is stale.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from service import errors
from service.settings import CONFIG_DIR, Settings

DOCS = Path(__file__).parent.parent / "docs"
SECTION = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end of generated -->)",
    re.DOTALL,
)
GROUP_OR_FIELD = re.compile(r"^    (?:# (?P<group>.+)|(?P<field>[a-z_]+): .*)$", re.MULTILINE)


def settings_tables() -> str:
    """A table for each group of settings, which are the comments of the class."""
    defaults = tomllib.loads((CONFIG_DIR / "defaults.toml").read_text())
    parts = []
    for group, names in _groups().items():
        rows = [_setting_row(name, defaults.get(name)) for name in names]
        parts += [f"## {group}", "", "| variable | default | |", "|---|---|---|", *rows, ""]
    return "\n".join(parts)


def errors_table() -> str:
    """A row for each code, by status."""
    rows = sorted(set(_error_rows(errors.RequestError)))
    lines = [f"| {status} | `{code}` | {meaning} |" for status, code, meaning in rows]
    return "\n".join(["| status | `code` | meaning |", "|---|---|---|", *lines, ""])


GENERATED: dict[str, tuple[str, Callable[[], str]]] = {
    "settings": ("settings.md", settings_tables),
    "errors": ("errors.md", errors_table),
}


def stale_pages(*, write: bool) -> list[str]:
    """The pages whose tables differ from the code; with `write` they are corrected."""
    stale = []
    for name, (page, table) in GENERATED.items():
        path = DOCS / page
        text = path.read_text()
        fresh = _with_section(text, name, table())
        if fresh != text:
            stale.append(page)
            if write:
                path.write_text(fresh)
    return stale


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Generate the tables of the documentation.")
    parser.add_argument("--check", action="store_true", help="fail if a page is stale")
    check = parser.parse_args(arguments).check
    stale = stale_pages(write=not check)
    if check and stale:
        sys.exit(f"stale: docs/{', docs/'.join(stale)}; run `make generated`")


def _with_section(text: str, name: str, table: str) -> str:
    """The page with this section replaced."""
    found = [match for match in SECTION.finditer(text) if match["name"] == name]
    if len(found) != 1:
        raise ValueError(f"expected one section named {name}, found {len(found)}")
    (match,) = found
    new = f"{match['begin']}\n{table}\n{match['end']}"
    return text[: match.start()] + new + text[match.end() :]


def _groups() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    names: list[str] = []
    for match in GROUP_OR_FIELD.finditer(inspect.getsource(Settings)):
        if match["group"]:
            names = groups.setdefault(match["group"], [])
        elif match["field"] in Settings.model_fields:
            names.append(match["field"])
    if sum(map(len, groups.values())) != len(Settings.model_fields):
        raise ValueError("every setting must stand below a comment that names its group")
    return groups


def _setting_row(name: str, default: object) -> str:
    shown = "" if default is None else f"`{_plain(default)}`"
    description = " ".join((Settings.model_fields[name].description or "").split())
    return f"| `{name.upper()}` | {shown} | {_cell(description)} |"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _error_rows(kind: type[errors.RequestError]) -> Iterator[tuple[int, str, str]]:
    if kind is not errors.RequestError:  # whose code is that of InternalError
        yield kind.status, kind.code, _cell(inspect.getdoc(kind) or HTTPStatus(kind.status).phrase)
    for child in kind.__subclasses__():
        yield from _error_rows(child)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
