"""Locates the files of a model, in a folder or on the Hugging Face hub, and identifies them.

A model in the hub's local cache is used without a request to the hub, so that it stays the version
with which the index was built, and a start needs no network.
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

IGNORED_FILES = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot"]  # of other runtimes
HUB_TIMEOUT_S = 5.0
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
    """Load a model from its folder, and return it with an identifier of its version."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _try_load(setting, model, folder, load), files_digest(folder, _model_files(folder))
    if not _HUB_ID.fullmatch(model):
        raise StartupFailed(
            f"{setting}: {model!r} is neither an existing folder nor a valid model id"
        )
    try:
        snapshot = _snapshot(setting, model, cached=True)
    except StartupFailed:
        snapshot = _snapshot(setting, model, cached=False)
    try:
        found = _try_load(setting, model, snapshot, load)
    except StartupFailed as error:  # the download may be incomplete
        try:
            snapshot = _snapshot(setting, model, cached=False)
        except StartupFailed:
            raise error from None
        found = _try_load(setting, model, snapshot, load)
    return found, f"{model}@{snapshot.name[:12]}"


def files_digest(folder: Path, files: Iterable[Path]) -> str:
    """Return a short digest of file names and contents, which does not depend on the folder."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(path.relative_to(folder).as_posix().encode("utf-8", "replace") + b"\0")
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12]


def _model_files(folder: Path) -> list[Path]:
    """Return the files of a model, without hidden files and documentation."""
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
        if not cached:  # a download has no timeout for the first response
            hub.HfApi().model_info(model, timeout=HUB_TIMEOUT_S)
        found = hub.snapshot_download(
            model,
            local_files_only=cached,
            etag_timeout=HUB_TIMEOUT_S,
            ignore_patterns=IGNORED_FILES,
        )
    except Exception as exc:
        raise StartupFailed(
            f"{setting}: {model!r} is not a folder, and could not be fetched from the hub "
            f"({_short(exc)})"
        ) from exc
    return Path(found)


def _try_load(setting: str, model: str, folder: Path, load: Callable[[Path], T]) -> T:
    try:
        return load(folder)
    except StartupFailed:
        raise
    except Exception as exc:
        raise StartupFailed(f"{setting}: {model!r} can't be loaded ({_short(exc)})") from exc


def _short(exc: Exception) -> str:
    """Return the type and the first line of an exception; some messages have pages."""
    first = next((line.strip() for line in str(exc).splitlines() if line.strip()), "")
    return f"{type(exc).__name__}: {first[:200]}" if first else type(exc).__name__
