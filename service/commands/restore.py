"""`restore`: an empty data directory gets the records of a backup."""

from __future__ import annotations

import argparse
from pathlib import Path

from service.commands.parsing import add_data_dir, check_embedded
from service.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Fill an empty data directory with the records of a file that `cascade backup` wrote. All "
        "of it is restored, or nothing."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="file to read")
    add_data_dir(parser)
    parser.set_defaults(run=_restore, quiet=True, settings=("data_dir",))


def _restore(settings: Settings, options: argparse.Namespace) -> int:
    check_embedded(settings, "restore")
    from service.backends.embedded import INDEX_NAME, schema_of  # slow: it imports the engine
    from service.embedded.backup import restore
    from service.embedded.index_metadata import metadata_of
    from service.inference.models import open_embedder

    manifest = restore(options.file, Path(settings.data_dir), INDEX_NAME)
    count = f"{manifest.records:,} record{'' if manifest.records == 1 else 's'}"
    print(
        f"restored {count} of {manifest.created_at} to {settings.data_dir}; "
        "the next start builds the search structures"
    )
    expected = metadata_of(schema_of(settings), open_embedder(settings.embedder))
    for name, value in expected.items():
        if (known := manifest.metadata.get(name)) not in {None, value}:
            print(
                f"note: it was made with the {name} {known}, and the settings say {value}: change "
                "EMBEDDER, PINECONE_TEXT_FIELD or TEXT_LANGUAGE, or run `cascade doctor --reembed`"
            )
    return 0
