"""Where a model's files come from, a folder or the hub, and what they are called.

A model that the hub's cache holds is taken from there, without asking the hub: so it stays what it
was when the index was made, and a start needs no network. Knows no model's format.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from service.errors import StartupFailed

T = TypeVar("T")

UNUSED = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot"]  # for other programs
ANSWER_S = 5.0  # how long the hub may take to say that it has a model
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def import_optional(name: str, setting: str, distribution: str) -> ModuleType:
    """Import a package that is not installed by default."""
    if find_spec(name) is None:
        raise StartupFailed(
            f"{setting} needs the package {distribution}, which is not installed: "
            f'pip install "cascade-search[{distribution}]", or pip install {distribution}'
        )
    try:
        return import_module(name)
    except Exception as exc:
        raise StartupFailed(
            f"{setting} needs the package {distribution}, which can't be imported: {_short(exc)}"
        ) from exc


def load_model(setting: str, model: str, load: Callable[[Path], T]) -> tuple[T, str]:
    """What `load` makes of the model's folder, and the identity of its weights."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _tried(setting, model, folder, load), files_digest(folder, _files(folder))
    if not _HUB_ID.fullmatch(model):
        raise StartupFailed(
            f"{setting}: there is no folder {model!r}, and no model can be so called"
        )
    try:
        snapshot = _snapshot(setting, model, cached=True)
    except StartupFailed:
        snapshot = _snapshot(setting, model, cached=False)
    try:
        found = _tried(setting, model, snapshot, load)
    except StartupFailed as wrong:  # perhaps only a part of it was fetched
        try:
            snapshot = _snapshot(setting, model, cached=False)
        except StartupFailed:
            raise wrong from None
        found = _tried(setting, model, snapshot, load)
    return found, f"{model}@{snapshot.name[:12]}"


def files_digest(folder: Path, files: Iterable[Path]) -> str:
    """Short, and another for other contents; where the folder is makes no difference."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(path.relative_to(folder).as_posix().encode("utf-8", "replace") + b"\0")
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12]


def _files(folder: Path) -> list[Path]:
    """What a model is made of: neither hidden files nor what is written for people."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".md"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _snapshot(setting: str, model: str, *, cached: bool) -> Path:
    hub = import_optional("huggingface_hub", setting, "huggingface-hub")
    try:
        if not cached:  # fetching has no limit of its own for the first answer
            hub.HfApi().model_info(model, timeout=ANSWER_S)
        found = hub.snapshot_download(
            model, local_files_only=cached, etag_timeout=ANSWER_S, ignore_patterns=UNUSED
        )
    except Exception as exc:
        raise StartupFailed(
            f"{setting}: {model!r} is neither a folder here nor a model that could be fetched "
            f"({_short(exc)})"
        ) from exc
    return Path(found)


def _tried(setting: str, model: str, folder: Path, load: Callable[[Path], T]) -> T:
    try:
        return load(folder)
    except StartupFailed:
        raise
    except Exception as exc:
        raise StartupFailed(f"{setting}: {model!r} can't be loaded ({_short(exc)})") from exc


def _short(exc: Exception) -> str:
    """The kind of an exception and its first words: some libraries write pages."""
    first = next((line.strip() for line in str(exc).splitlines() if line.strip()), "")
    return f"{type(exc).__name__}: {first[:200]}" if first else type(exc).__name__
