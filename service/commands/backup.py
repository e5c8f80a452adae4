"""`backup`: a copy of the embedded engine's records in one file, also of a running service."""

from __future__ import annotations

import argparse
from pathlib import Path

from service.commands.parsing import add_data_dir, check_embedded
from service.ingest.progress import stopwatch
from service.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Copy the records of the embedded engine to one file, while a service runs or not. Every "
        "write that was acknowledged before is in it. `cascade restore` reads it."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="file to write")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    add_data_dir(parser)
    parser.set_defaults(run=_backup, quiet=True, settings=("data_dir",))


def _backup(settings: Settings, options: argparse.Namespace) -> int:
    check_embedded(settings, "backup")
    from service.backends.embedded import INDEX_NAME  # slow: it imports the engine
    from service.embedded.backup import back_up

    seconds = stopwatch()
    folder = Path(settings.data_dir) / INDEX_NAME
    manifest = back_up(folder, options.file, replace=options.force)
    count = f"{manifest.records:,} record{'' if manifest.records == 1 else 's'}"
    size = f"{max(1, manifest.bytes // 1000):,} kB"
    print(f"backed up {count} ({size}) to {options.file} in {seconds():.1f} s")
    return 0
