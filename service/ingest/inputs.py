"""Finds the files that the arguments of `load` name, and their formats.

Invalid arguments are reported here, before anything is loaded.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from service.errors import CommandFailed
from service.ingest.formats.documents import EXTRA, PARSERS, is_installed
from service.ingest.formats.encoding import is_binary
from service.ingest.record import RecordError

Format = Literal["jsonl", "csv", "tsv", "text", "markdown", "html", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}
PLAIN_FORMATS = {"text", "markdown"}
TEXT_FORMATS = {*PLAIN_FORMATS, *PARSERS}  # what is split into passages
DOCUMENTS = "PDF or HTML"  # in the count of skipped files
STDIN = "-"
HEAD = 8192  # in which a binary file is recognized


@dataclass(frozen=True, slots=True)
class Input:
    """One file, or stdin, which has no path, size or modification time."""

    name: str
    source: str
    path: Path | None
    format: Format
    size: int | None = None
    changed: int | None = None


@dataclass(slots=True)
class FoundInputs:
    """The files that the arguments name."""

    inputs: list[Input] = field(default_factory=list)
    errors: list[RecordError] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def size(self) -> int | None:
        """The number of bytes to read, if the size of every input is known."""
        sizes = [each.size for each in self.inputs]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None


def find_inputs(
    arguments: Sequence[str], format: Format | None, prefix: str | None = None
) -> FoundInputs:
    """Find the files; a folder stands for the texts in it.

    The source of a text is its path from the folder that was given, or that it is in, with the name
    of this folder, or `prefix`. So it does not depend on how the path is written.
    """
    found = FoundInputs()
    for argument in arguments:
        if argument == STDIN:
            if arguments.count(STDIN) > 1:
                raise CommandFailed("- is stdin, and can be given only once")
            found.inputs.append(Input("stdin", "stdin", None, format or "jsonl"))
            continue
        path = Path(argument)
        try:
            status = path.stat()
        except (OSError, ValueError) as exc:
            raise CommandFailed(f"{argument}: can't be read: {_reason(exc)}") from None
        if stat.S_ISDIR(status.st_mode):
            if format is not None and format not in PLAIN_FORMATS:
                raise CommandFailed(f"{argument}: is a folder; --format {format} takes files")
            _folder(path, format, _start(path, prefix), found)
        elif kind := format or _format_of(path.name):
            source = _start(path.parent, prefix) + path.name
            found.inputs.append(_input(path, argument, source, kind, status))
        else:
            raise CommandFailed(
                f"{argument}: what it is can't be told from its name; "
                f"say it with --format {'|'.join(FORMATS)}"
            )
    _no_two_alike(found.inputs)
    return found


def _start(folder: Path, prefix: str | None) -> str:
    """What the sources of the texts in a folder begin with."""
    name = folder.resolve().name if prefix is None else prefix
    return f"{name}/" if name else ""


def _folder(root: Path, format: Format | None, start: str, found: FoundInputs) -> None:
    texts = 0
    data: list[str] = []
    for path in _files(root, found):
        kind = _format_of(path.name)
        source = start + path.relative_to(root).as_posix()
        if kind in PARSERS:
            if is_installed(kind):
                texts += 1
                _text(path, source, kind, found)
            else:
                found.skipped[DOCUMENTS] += 1
        elif kind in PLAIN_FORMATS:
            texts += 1
            _text(path, source, format or kind, found)
        elif kind:
            data.append(str(path))
        else:
            found.skipped["other"] += 1
    if found.skipped[DOCUMENTS] and not texts:
        raise CommandFailed(f"{root}: PDF and HTML need another package: {EXTRA}")
    if data and not texts:
        raise CommandFailed(
            f"{root}: in a folder only texts and Markdown are loaded; name its "
            f"{len(data)} data files themselves, such as {data[0]}"
        )
    if not texts and not found.errors:
        raise CommandFailed(f"{root}: there is no .txt, .md or .markdown file in it")
    found.skipped["data"] += len(data)


def _files(root: Path, found: FoundInputs) -> Iterator[Path]:
    """All files below `root`, in a stable order. Symbolic links to folders are not followed."""

    def unreadable(exc: OSError) -> None:
        found.errors.append(RecordError(str(exc.filename), f"can't be read: {_reason(exc)}"))

    for folder, folders, names in os.walk(root, onerror=unreadable):
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        hidden = [name for name in folders if name.startswith(".")]
        found.skipped["linked folders"] += len(linked)
        found.skipped["hidden"] += len(hidden)
        folders[:] = sorted(set(folders) - set(linked) - set(hidden))
        for name in sorted(names):
            if name.startswith("."):
                found.skipped["hidden"] += 1
            else:
                yield Path(folder, name)


def _text(path: Path, source: str, kind: Format, found: FoundInputs) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            found.skipped["other"] += 1
            return
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as exc:
        found.errors.append(RecordError(str(path), f"can't be read: {_reason(exc)}"))
        return
    if kind in PLAIN_FORMATS and path.suffix != ".gz" and is_binary(head):
        found.skipped["binary"] += 1
        return
    found.inputs.append(_input(path, str(path), source, kind, status))


def _input(path: Path, name: str, source: str, kind: Format, status: os.stat_result) -> Input:
    shown = name.encode(errors="replace").decode()
    if not stat.S_ISREG(status.st_mode):
        return Input(shown, source, path, kind)
    return Input(shown, source, path, kind, status.st_size, status.st_mtime_ns)


def _format_of(name: str) -> Format | None:
    path = Path(name.lower())
    return SUFFIXES.get(Path(path.stem).suffix if path.suffix == ".gz" else path.suffix)


def _no_two_alike(inputs: Sequence[Input]) -> None:
    """Two texts with the same path would overwrite each other's passages."""
    seen: dict[str, str] = {}
    for each in inputs:
        if each.format in TEXT_FORMATS:
            if each.source in seen:
                raise CommandFailed(
                    f"{seen[each.source]} and {each.name} would both get the ids {each.source}#…: "
                    "load one at a time, each with a --prefix of its own"
                )
            seen[each.source] = each.name


def _reason(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)
