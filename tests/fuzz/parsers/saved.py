"""Files that Cascade has written, and that may be damaged or of somebody else."""

from __future__ import annotations

import contextlib
import json

from service.embedded.backup import restore
from service.embedded.data_directory import OWNER
from service.embedded.storage.checkpoint_files import CheckpointFiles
from service.errors import CommandFailed
from service.ingest.checkpoint import Checkpoint, CheckpointFile
from tests.fuzz.parsers.resources import scratch_folder

FOLDER = scratch_folder()


def load_checkpoint(data: bytes) -> None:
    file = CheckpointFile(FOLDER / "load.json", {"inputs": ["a.csv"]})
    for content in (data, _of_this_load(file, data)):
        file.path.write_bytes(content)
        found = file.read()
        assert found is None or isinstance(found, Checkpoint)
    (FOLDER / "00000000000000000001.view").write_bytes(data)
    for seq, view in CheckpointFiles(FOLDER, ".view", "view").read():
        assert seq == 1
        assert len(view) < len(data)


def _of_this_load(file: CheckpointFile, data: bytes) -> bytes:
    """The data as members of a checkpoint of this load, if it is a JSON object."""
    file.save(Checkpoint(1, 1, 0))
    with contextlib.suppress(ValueError, RecursionError):
        members = json.loads(data)
        if isinstance(members, dict):
            return json.dumps(json.loads(file.path.read_text()) | members).encode()
    return data


def backup_file(data: bytes) -> None:
    """A file that is no backup is refused, and leaves the data directory empty."""
    file, data_dir = FOLDER / "backup", FOLDER / "data"
    file.write_bytes(data)
    data_dir.mkdir(exist_ok=True)
    with contextlib.suppress(CommandFailed):
        restore(file, data_dir, "index")
        raise AssertionError("no input is a whole backup")
    assert {each.name for each in data_dir.iterdir()} <= {OWNER}
