"""Files that hold the state of a view after some change, and know whether they are whole.

Knows bytes, not what they mean. A file ends with facts (what it is, and of which change) and a
checksum over all of it. It is written beside the older one, put on the disk, then given its name:
whatever happens, one whole file is there. What is damaged, cut or of another kind is not read.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PIECE = 1 << 22  # zlib and files let other threads work while they are at such a piece
TRAILER = struct.Struct("<II8s")  # checksum, length of the facts, mark
MARK = b"cascade1"


class CheckpointFiles:
    """The files `<seq><suffix>` of one folder, all of one kind."""

    def __init__(self, folder: Path, suffix: str, kind: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self._kind = kind

    def write(self, seq: int, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write the state after `seq`, then remove the older ones."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{seq:020d}{self._suffix}"
        unfinished = target.with_suffix(".unfinished")
        checksum = 0
        with unfinished.open("wb") as file:
            for part in (*parts, self._facts(seq)):
                with memoryview(part).cast("B") as whole:
                    for start in range(0, len(whole), PIECE):
                        checksum = zlib.crc32(whole[start : start + PIECE], checksum)
                        file.write(whole[start : start + PIECE])
            file.write(TRAILER.pack(checksum, len(self._facts(seq)), MARK))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
        self._settle()
        for path in self._folder.iterdir():
            if path != target and path.suffix in (self._suffix, ".unfinished"):
                path.unlink()

    def read(self) -> Iterator[tuple[int, memoryview]]:
        """What can be trusted, the newest first: the change and the bytes."""
        for path in sorted(self._folder.glob(f"*{self._suffix}"), reverse=True):
            if not path.stem.isdecimal():
                continue
            try:
                content = memoryview(path.read_bytes())
            except OSError:
                continue
            seq = int(path.stem)
            whole = self._checked(content, self._facts(seq))
            if whole is not None:
                yield seq, whole

    def _facts(self, seq: int) -> bytes:
        return f"{self._kind} {seq}".encode()

    def _checked(self, content: memoryview, facts: bytes) -> memoryview | None:
        end = len(content) - TRAILER.size
        if end < len(facts):
            return None
        checksum, length, mark = TRAILER.unpack(content[end:])
        if mark != MARK or length != len(facts) or content[end - length : end] != facts:
            return None
        found = 0
        for start in range(0, end, PIECE):
            found = zlib.crc32(content[start : min(end, start + PIECE)], found)
        return content[: end - length] if found == checksum else None

    def _settle(self) -> None:
        """A name is on the disk once its folder is."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
