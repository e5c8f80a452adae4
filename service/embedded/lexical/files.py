"""The files of a lexical view: whether they are whole, and what the library's errors mean.

It does not know what is in them.
"""

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
    """The folder holds no view that can be used: delete it and build it again."""


class IndexInUse(Exception):
    """Another writer, perhaps in another process, has the folder open."""


def check_files(folder: Path) -> None:
    """Compare the committed files to the checksums at their ends, and clear up after a crash.

    The library does not compare when it opens them; a flipped bit would come up as a wrong answer.
    And it refuses to commit if a crash in a commit left a list of deleted documents: it writes the
    list of the same name again, as the same changes are applied again, and finds it there.
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
    """The library says ValueError to most things; what is done here only fails for its files.

    A mistake of the caller's is a kind of ValueError of ours, and goes through.
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
        if type(e).__name__ != "PanicException":  # which can't be imported
            raise
        raise CorruptIndex(str(e)) from e
