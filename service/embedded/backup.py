"""Backup of an index to one file, and its restoration. The index may be open in another process.

A backup is a ZIP archive of `manifest.json` and `records.db`, without compression: vectors do not
compress. ZIP has a CRC-32 of each member, and its directory at the end, so a truncated or damaged
file is recognized. The views are not part of it, since they are rebuilt from the records.

`VACUUM INTO` copies the state of one moment: every write that was acknowledged before, and only
whole transactions. Its connection is read-only, so it never writes a checkpoint and does not block
the process that writes. Meanwhile that process cannot restart its write-ahead log, which grows.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from service.embedded.data_directory import OWNER, owned
from service.embedded.storage.database import FORMAT, connect_read_only
from service.errors import CommandFailed
from service.private_files import make_private_file, make_private_folder
from service.version import VERSION

MANIFEST_FORMAT = 1
MANIFEST, RECORDS = "manifest.json", "records.db"
MAX_MANIFEST_BYTES = 1_000_000
UNFINISHED = ".unfinished"
NOT_DATA = {OWNER, "lost+found"}
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    sqlite3.Error,
    orjson.JSONDecodeError,
    *(EOFError, KeyError, TypeError, ValueError, NotImplementedError, RuntimeError),
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a backup. All but the first three are read from the copied records."""

    format: int
    created_at: str
    version: str
    """Of Cascade."""
    store_format: int
    metadata: Mapping[str, str]
    """The schema and the embedder that the index was made with."""
    records: int
    last_seq: int
    bytes: int


def back_up(folder: Path, file: Path, *, replace: bool = False) -> Manifest:
    """Write a backup of the index in `folder`, under its name when it is complete and synced."""
    source = folder / RECORDS
    if not source.exists():
        raise CommandFailed(f"DATA_DIR: {folder.parent} has no records: nothing to back up")
    if file.exists() and not replace:
        raise CommandFailed(f"{file} exists; give another name, or --force to replace it")
    if file.is_dir():
        raise CommandFailed(f"{file} is a folder; give the name of a file")
    try:
        with tempfile.TemporaryDirectory(
            prefix=f"{file.name}.", suffix=UNFINISHED, dir=file.parent
        ) as temporary:
            copy, archive = Path(temporary, RECORDS), Path(temporary, "archive")
            manifest = _copy(source, copy)
            make_private_file(archive)
            with zipfile.ZipFile(archive, "w") as packed:
                packed.writestr(
                    MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2)
                )
                packed.write(copy, RECORDS)
            _sync(archive)
            archive.replace(file)
        _sync(file.parent)
    except OSError as exc:
        raise CommandFailed(f"{file} can't be written: {exc.strerror}") from exc
    return manifest


def restore(file: Path, data_dir: Path, name: str) -> Manifest:
    """Make the index `name` of an empty data directory from a backup: all of it, or nothing.

    It is unpacked and checked under another name, so the kill of a restore leaves a folder that no
    service opens, and that the next restore removes.
    """
    with _opened(file) as (archive, manifest), owned(data_dir):
        unfinished = data_dir / f"{name}{UNFINISHED}"
        if found := _contents(data_dir, unfinished.name):
            raise CommandFailed(
                f"DATA_DIR: {data_dir} is not empty, it has {', '.join(found[:5])}; "
                "give another DATA_DIR, or move these away"
            )
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            make_private_folder(unfinished)
            try:
                _unpack(archive, unfinished / RECORDS)
                _check(file, unfinished / RECORDS, manifest)
                _sync(unfinished)
                unfinished.rename(data_dir / name)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            _sync(data_dir)
        except OSError as exc:
            raise CommandFailed(f"DATA_DIR: {data_dir} can't be written: {exc.strerror}") from exc
    return manifest


def _copy(source: Path, target: Path) -> Manifest:
    """Copy the records as of now, and check the copy."""
    try:
        with contextlib.closing(connect_read_only(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
        manifest, damage = _describe(target)
    except sqlite3.Error as exc:
        raise CommandFailed(f"DATA_DIR: {source} can't be copied ({exc})") from exc
    if damage:
        raise CommandFailed(f"DATA_DIR: {source} is damaged ({damage}); run `cascade doctor`")
    if "reembedding" in manifest.metadata:
        raise CommandFailed(
            f"DATA_DIR: {source} is being re-embedded; back it up when `cascade doctor --reembed` "
            "is done"
        )
    return manifest


def _describe(path: Path) -> tuple[Manifest, str | None]:
    """The manifest of a file of records that nobody writes to, and its damage if it has any."""
    with contextlib.closing(connect_read_only(path)) as connection:

        def value(sql: str) -> Any:
            return connection.execute(sql).fetchone()[0]

        damage = value("PRAGMA integrity_check(1)")
        manifest = Manifest(
            MANIFEST_FORMAT,
            datetime.now(UTC).isoformat(timespec="seconds"),
            VERSION,
            value("PRAGMA user_version"),
            dict(connection.execute("SELECT name, value FROM facts")),
            value("SELECT count(*) FROM documents"),
            value("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'"),
            path.stat().st_size,
        )
    return manifest, None if damage == "ok" else damage


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """Open a backup; raises `CommandFailed` for an error in the block that is the file's, too."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(MANIFEST).file_size > MAX_MANIFEST_BYTES:
                raise _damaged(file, "its manifest is too large")
            manifest = Manifest(**orjson.loads(archive.read(MANIFEST)))
            if manifest.format != MANIFEST_FORMAT or manifest.store_format != FORMAT:
                raise CommandFailed(
                    f"{file} was made by Cascade {manifest.version}, whose format this version "
                    f"({VERSION}) can't read; restore it with that version"
                )
            yield archive, manifest
    except OSError as exc:
        raise CommandFailed(f"{file} can't be read: {exc.strerror or exc}") from exc
    except UNREADABLE as exc:
        raise _damaged(file, str(exc)) from exc


def _unpack(archive: zipfile.ZipFile, target: Path) -> None:
    make_private_file(target)
    with archive.open(RECORDS) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def _check(file: Path, records: Path, manifest: Manifest) -> None:
    found, damage = _describe(records)
    if damage:
        raise _damaged(file, damage)
    same = asdict(found) | {name: getattr(manifest, name) for name in ("created_at", "version")}
    if same != asdict(manifest):
        raise _damaged(file, "its records differ from its manifest")


def _damaged(file: Path, why: str) -> CommandFailed:
    return CommandFailed(
        f"{file} is not a complete backup of Cascade ({why}); nothing was restored, use another one"
    )


def _contents(data_dir: Path, unfinished: str) -> list[str]:
    return sorted(
        each.name for each in data_dir.iterdir() if each.name not in {*NOT_DATA, unfinished}
    )


def _sync(path: Path) -> None:
    """Make the content of a file, or the renames in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
