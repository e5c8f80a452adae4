"""Checkpoint files: the state of a view as of one change, with a checksum.

A file ends with a description (its kind and sequence number) and a CRC-32 of everything before.
A checkpoint is written to a temporary file, synced, then renamed, so that one complete file exists
at any time. A file that is damaged, truncated or of another kind is ignored.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 22  # zlib and file writes release the GIL for one chunk at a time
TRAILER = struct.Struct("<II8s")  # checksum, length of the description, magic
MAGIC = b"cascade1"


class CheckpointFiles:
    """The files `<seq><suffix>` of one folder, all of one kind."""

    def __init__(self, folder: Path, suffix: str, kind: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self._kind = kind

    def write(self, seq: int, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write the checkpoint of `seq`, then delete the older ones."""
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{seq:020d}{self._suffix}"
        unfinished = target.with_suffix(".unfinished")
        description = self._description(seq)
        checksum = 0
        with unfinished.open("wb") as file:
            for part in (*parts, description):
                with memoryview(part).cast("B") as data:
                    for start in range(0, len(data), CHUNK_BYTES):
                        checksum = zlib.crc32(data[start : start + CHUNK_BYTES], checksum)
                        file.write(data[start : start + CHUNK_BYTES])
            file.write(TRAILER.pack(checksum, len(description), MAGIC))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
        self._sync_folder()
        for path in self._folder.iterdir():
            if path != target and path.suffix in (self._suffix, ".unfinished"):
                path.unlink()

    def read(self) -> Iterator[tuple[int, memoryview]]:
        """Yield the sequence number and content of each valid checkpoint, newest first."""
        for path in sorted(self._folder.glob(f"*{self._suffix}"), reverse=True):
            if not path.stem.isdecimal():
                continue
            try:
                data = memoryview(path.read_bytes())
            except OSError:
                continue
            seq = int(path.stem)
            content = _verify(data, self._description(seq))
            if content is not None:
                yield seq, content

    def _description(self, seq: int) -> bytes:
        return f"{self._kind} {seq}".encode()

    def _sync_folder(self) -> None:
        """Make the rename durable."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _verify(data: memoryview, description: bytes) -> memoryview | None:
    """Return the content of a file, or None if the file is not valid."""
    end = len(data) - TRAILER.size
    if end < len(description):
        return None
    checksum, length, magic = TRAILER.unpack(data[end:])
    start = end - len(description)
    if magic != MAGIC or length != len(description) or data[start:end] != description:
        return None
    found = 0
    for at in range(0, end, CHUNK_BYTES):
        found = zlib.crc32(data[at : min(end, at + CHUNK_BYTES)], found)
    return data[:start] if found == checksum else None
