"""The files of a lexical index: their verification, and the translation of tantivy's errors."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EIO
from mmap import ACCESS_READ, mmap
from pathlib import Path


class CorruptIndex(Exception):
    """The folder has no valid index: delete it and rebuild."""


class IndexInUse(Exception):
    """Another writer, possibly of another process, has the folder open."""


def check_files(folder: Path) -> None:
    """Verify the checksums of committed files, and remove the remains of a crash.

    tantivy does not verify checksums when it opens files: a flipped bit would give wrong results.
    After a crash during a commit, the same changes are applied again and write a list of deleted
    documents of the same name; tantivy fails if the old one still exists.
    """
    if not (folder / "meta.json").exists():
        return
    for segment in json.loads((folder / "meta.json").read_bytes())["segments"]:
        stem = segment["segment_id"].replace("-", "")
        deletes = segment["deletes"] and f"{stem}.{segment['deletes']['opstamp']}.del"
        for path in folder.glob(f"{stem}.*"):
            if path.suffix != ".del" or path.name == deletes:
                _check_file(path)
            else:
                path.unlink()


def _check_file(path: Path) -> None:
    with path.open("rb") as file:
        data = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    end = len(data) - 8  # the length of the footer, and a magic number
    start = end - int.from_bytes(data[end : end + 4], "little")
    if json.loads(bytes(data[start:end]))["crc"] != zlib.crc32(data[:start]):
        raise CorruptIndex(f"{path.name} is damaged")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate the ValueError that tantivy raises for most problems with its files.

    A subclass of ValueError is an error of the caller, raised by our own code, and passes through.
    """
    try:
        yield
    except ValueError as e:
        if type(e) is not ValueError:
            raise
        if "LockBusy" in str(e):
            raise IndexInUse(str(e)) from e
        if "writer was killed" in str(e) or "Worker thread failed" in str(e):
            raise OSError(EIO, str(e)) from e
        if number := re.search(r"os error (\d+)|Os \{ code: (\d+)", str(e)):
            raise OSError(int(number[1] or number[2]), str(e)) from e
        raise CorruptIndex(str(e)) from e
    except BaseException as e:
        if type(e).__name__ != "PanicException":  # not importable
            raise
        raise CorruptIndex(str(e)) from e
