"""The checkpoint file of `load`, and which loads may continue from it."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.commands.remote import check_url
from service.errors import CommandFailed
from service.ingest.checkpoint import CheckpointFile
from service.ingest.inputs import FoundInputs
from service.ingest.parsing import ParseOptions
from service.settings import Settings


def checkpoint_file(
    settings: Settings, options: argparse.Namespace, found: FoundInputs, reading: ParseOptions
) -> CheckpointFile | None:
    """The checkpoint file; None if an input can't be read again."""
    if any(each.changed is None for each in found.inputs):
        return None
    if options.state:
        path = Path(options.state)
    else:
        path = Path(settings.data_dir, "loads")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise CommandFailed(f"DATA_DIR: {path} can't be created: {exc.strerror}") from exc
    return CheckpointFile(path, _identity(settings, options, found, reading))


def _identity(
    settings: Settings, options: argparse.Namespace, found: FoundInputs, reading: ParseOptions
) -> dict[str, Any]:
    """What must be equal for a load to be resumed: its input, options and destination."""
    place = check_url(options.url) if options.url else str(Path(settings.data_dir).resolve())
    return {
        "files": [
            (str(each.path and each.path.resolve()), each.source, each.size, each.changed)
            for each in found.inputs
        ],
        "formats": [each.format for each in found.inputs],
        "faults": [str(fault) for fault in found.errors],
        "reading": asdict(reading),
        "place": place,
        "hosts": [
            settings.pinecone_dense_index_host or settings.pinecone_dense_index,
            settings.pinecone_sparse_index_host or settings.pinecone_sparse_index,
        ],
        "namespace": options.namespace or settings.pinecone_namespace,
    }
