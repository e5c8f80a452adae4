"""`load`: records from files into the index, with progress; resumable."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.commands.connect import connect
from service.commands.interrupt import Interrupt, run
from service.commands.load_report import ErrorLog, Notes
from service.commands.parsing import add_target_arguments, whole
from service.commands.remote import check_url
from service.commands.terminal import columns, printable
from service.errors import CommandFailed
from service.ingest.batches import batches
from service.ingest.checkpoint import Checkpoint, CheckpointFile
from service.ingest.formats.delimited import is_delimiter
from service.ingest.formats.documents import EXTRA
from service.ingest.formats.encoding import is_encoding
from service.ingest.inputs import DOCUMENTS, FORMATS, TEXT_FORMATS, FoundInputs, find_inputs
from service.ingest.load import Load
from service.ingest.parsing import ParseOptions, parse_inputs
from service.ingest.progress import Progress, Snapshot, rate, stopwatch
from service.ingest.reading import ReadMeter
from service.ingest.record import RecordError, RecordMapping
from service.ingest.target import Target
from service.ingest.text_source import parse_template
from service.settings import Settings

DESCRIPTION = """\
Load records. A record replaces the one with the same id, so a load can be repeated.

JSON Lines (.jsonl, .ndjson) has one object per line, JSON (.json) may be one array of objects. CSV
and TSV have a header. A cell that is the JSON form of a number, true, false, a string ("007") or a
list of strings (["a", "b"]) is read as such; any other cell (007, 1,5, True) is a string. The
delimiter (, ; tab |) and the encoding are found in the file, and reported if they are not the usual
ones. The output of /api/export can be loaded. Text and Markdown (.txt, .md) are split into passages
of about 120 to 200 words along headings and paragraphs, with the fields source, title and position;
a folder stands for all such files in it. So are PDF and HTML, if the extra for them is installed:
pip install 'cascade-search[documents]'. Every file may be compressed with gzip.

The id is the field _id or id; a record without one gets a hash of its content. The id of a passage
is the folder's name, the path of the file in it, # and a number. If a file becomes shorter or is
removed, its old passages stay in the index: delete them there, by their source.

Fields are strings, numbers, booleans and lists of strings; nulls and empty cells are left out. A
nested object becomes fields with dotted names, and any other list is kept as JSON. A record that
can't be loaded is skipped; the exit status is then 1. The first three are shown, with file and
line, and all are written to the file of --errors.
"""
EXAMPLES = """
examples:
  cascade load articles.jsonl
  cascade load people.csv --text-field bio --id-field email --namespace people
  cascade load books.json --text-template "{title}. {summary}"
  cascade load docs/ --url http://127.0.0.1:8000
  zcat dump.gz | jq -c '.items[]' | cascade load -
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a file, a folder of texts, or - for stdin"
    )
    add_target_arguments(parser)
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--format", choices=FORMATS, help="format of the files (by default, by their names)"
    )
    text = reading.add_mutually_exclusive_group()
    text.add_argument(
        "--text-field",
        metavar="NAMES",
        help="field of the text, or several to join: title,body (default: PINECONE_TEXT_FIELD)",
    )
    text.add_argument(
        "--text-template",
        type=_template,
        metavar="TEXT",
        help="the text, with fields in braces: '{title}. {body}'",
    )
    reading.add_argument(
        "--id-field", "--id-column", dest="id_column", metavar="NAME", help="field of the id"
    )
    reading.add_argument(
        "--prefix",
        metavar="NAME",
        help="what the ids of passages begin with (default: the name of the folder)",
    )
    reading.add_argument(
        "--flatten",
        action=argparse.BooleanOptionalAction,
        default=True,
        help='make {"a": {"b": 1}} a field a.b, and a list of anything but texts JSON; '
        "otherwise such records fail (default: --flatten)",
    )
    reading.add_argument(
        "--split", action="store_true", help="split each text into passages: id#0, id#1, ..."
    )
    reading.add_argument(
        "--delimiter",
        type=_delimiter,
        help="separator of CSV: one character, or tab (default: found in the file)",
    )
    reading.add_argument(
        "--encoding",
        type=_encoding,
        metavar="NAME",
        help="such as windows-1252 or utf-16 (default: found in the file)",
    )
    reading.add_argument("--strings", action="store_true", help="read every CSV cell as a string")
    reading.add_argument(
        "--stop-on-error", action="store_true", help="stop at the first record that can't be loaded"
    )
    reading.add_argument(
        "--errors", metavar="FILE", help="write every error to FILE (default: show the first three)"
    )
    writing = parser.add_argument_group("writing")
    writing.add_argument(
        "--batch-size",
        type=whole(1, 10_000),
        metavar="N",
        help="records per batch (default: what suits the backend)",
    )
    writing.add_argument(
        "--concurrency",
        type=whole(1, 64),
        default=4,
        metavar="N",
        help="batches in flight (default: 4)",
    )
    writing.add_argument(
        "--resume",
        action="store_true",
        help="continue the same load where it was interrupted",
    )
    writing.add_argument(
        "--state", metavar="FILE", help="checkpoint file (default: in DATA_DIR/loads)"
    )
    parser.set_defaults(run=_load, quiet=True)


def _load(settings: Settings, options: argparse.Namespace) -> int:
    async def command(interrupt: Interrupt) -> int:
        found = find_inputs(options.files, options.format, options.prefix)
        _check(found, options)
        empty = settings.model_copy(update={"load_samples": False})
        async with connect(empty, options.url, interrupt) as target:
            return await _Session(settings, options, found, target).run(interrupt)

    return run(command)


class _Session:
    """One run of `load`, and its summary."""

    def __init__(
        self, settings: Settings, options: argparse.Namespace, found: FoundInputs, target: Target
    ) -> None:
        self._options = options
        self._found = found
        self._target = target
        self._meter = ReadMeter()
        self._reading = ParseOptions(
            RecordMapping(
                target.text_field,
                options.text_field,
                options.id_column,
                options.flatten,
                text_template=options.text_template,
                split=options.split,
            ),
            options.delimiter,
            options.strings,
            options.encoding,
        )
        self._notes = Notes()
        self._errors = ErrorLog(options.errors)
        self._journal = _journal(settings, options, found, self._reading)
        self._begin = self._starting_point()
        self._progress = Progress(sys.stderr, self._snapshot, columns(), self._errors.hint)
        self._load = Load(
            target,
            options.namespace or "",
            report=self._report_error,
            checkpoints=self._journal,
            start=self._begin,
            concurrency=options.concurrency,
            stop_on_error=options.stop_on_error,
            on_stop=self._meter.stop,
        )

    async def run(self, interrupt: Interrupt) -> int:
        self._seconds = stopwatch()
        stream = parse_inputs(self._found, self._reading, self._meter, self._notes.add)
        size = self._options.batch_size or self._target.batch_size
        try:
            with (
                self._errors.opened(),
                contextlib.closing(batches(stream, size, self._begin.position)) as source,
            ):
                async with self._progress.shown():
                    with interrupt.on_signal(self._load.stop):
                        await self._load.run(source)
        finally:
            interrupted = interrupt.number is not None
            self._print_summary(interrupted)
        if interrupted:
            return 0  # the interrupt has the status
        if self._journal:
            self._journal.clear()
        if not self._load.counts.seen and not self._begin.position:
            raise CommandFailed(
                "the files have no records: nothing was loaded; "
                f"look into them with `head {self._found.inputs[0].name}`"
            )
        return 1 if self._failed else 0

    @property
    def _failed(self) -> int:
        return self._begin.failed + self._load.counts.failed

    def _starting_point(self) -> Checkpoint:
        if not self._options.resume:
            if self._journal:
                self._journal.clear()
            return Checkpoint()
        mark = self._journal.read() if self._journal else None
        if mark is None:
            _note("no interrupted load of these files was found; starting from the beginning")
        return mark or Checkpoint()

    def _report_error(self, error: RecordError) -> None:
        sentence = printable(str(error))
        self._errors.write(sentence)
        self._progress.fault(sentence)

    def _print_summary(self, interrupted: bool) -> None:
        tally, seconds = self._load.counts, self._seconds()
        done = f"{tally.written:,} record{'' if tally.written == 1 else 's'}"
        parts = [f"loaded {done} in {seconds:.1f} s ({rate(tally.written, seconds):,.0f}/s)"]
        counts = tally.divided.reported(tally.written)
        if counts["created"] is not None:
            parts[0] += (
                f": {counts['created']:,} new, {counts['replaced']:,} replaced, "
                f"{counts['unchanged']:,} unchanged"
            )
        if self._begin.position:
            parts.append(f"after {self._begin.written:,} before")
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if skipped := [f"{n:,} {kind}" for kind, n in self._found.skipped.items() if n]:
            parts.append(f"skipped {' and '.join(skipped)} files")
        if interrupted:
            parts.append("interrupted" + ("; --resume goes on" if self._journal else ""))
        print(", ".join(parts), flush=True)
        if self._found.skipped[DOCUMENTS]:
            _note(f"{DOCUMENTS} files were skipped; to load them, {EXTRA}")
        for sentence in self._notes.sentences():
            _note(printable(sentence))

    def _snapshot(self) -> Snapshot:
        tally = self._load.counts
        return Snapshot(
            tally.written,
            tally.failed,
            self._load.retries,
            self._meter.read,
            self._found.size,
            self._seconds(),
        )


def _check(found: FoundInputs, options: argparse.Namespace) -> None:
    if options.resume and any(each.changed is None for each in found.inputs):
        raise CommandFailed("--resume needs files: a pipe can't be read again")
    texts = [each.name for each in found.inputs if each.format in TEXT_FORMATS]
    if texts and (options.text_field or options.text_template or options.id_column):
        raise CommandFailed(
            f"{texts[0]}: text files have no fields for --text-field, --text-template or --id-field"
        )


def _journal(
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


def _template(value: str) -> str:
    try:
        parse_template(value)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return value


def _delimiter(value: str) -> str:
    value = {"tab": "\t", r"\t": "\t"}.get(value, value)
    if not is_delimiter(value):
        raise argparse.ArgumentTypeError("must be one character, or tab")
    return value


def _encoding(value: str) -> str:
    if not is_encoding(value):
        raise argparse.ArgumentTypeError(
            f"{value!r} is no encoding that Python knows; try utf-8, utf-16, windows-1252, "
            "iso-8859-2, windows-1251, shift_jis or gb18030"
        )
    return value


def _note(sentence: str) -> None:
    print(f"cascade: {sentence}", file=sys.stderr)
