"""`load`: files into the index, with progress, and from where it stopped if it is told to."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.commands.connect import connect
from service.commands.interrupt import Interrupt, run
from service.commands.parsing import add_place, whole
from service.commands.remote import check_url
from service.commands.terminal import columns, printable
from service.errors import CommandFailed
from service.ingest.batches import batches
from service.ingest.delimited import is_delimiter
from service.ingest.inputs import FORMATS, TEXTS, Found, find
from service.ingest.items import Rules
from service.ingest.journal import Journal
from service.ingest.loading import Load
from service.ingest.marks import Mark
from service.ingest.progress import Progress, Snapshot, rate, stopwatch
from service.ingest.reading import Meter
from service.ingest.stream import Options, items
from service.ingest.target import Target
from service.settings import Settings

DESCRIPTION = """\
Load records, each in place of the one that has its id. Loading the same again does no harm.

JSON Lines (.jsonl, .ndjson) has an object a line. CSV and TSV have a header; a cell that is written
as JSON writes a number, true, false, a text ("007") or a list of texts (["a", "b"]) is that,
anything else (007, 1,5, True) is a text. What /api/export gives can be loaded again. Text and
Markdown (.txt, .md) are split into passages of some 120 to 200 words along headings and paragraphs,
with the fields source, title and position; a folder stands for all of them in it. Each may be
packed with gzip.

The id is the field _id or id; a record without one gets an id made from what it says. A passage's
id is the file's path, # and its number. When a file becomes shorter, or goes, the passages that it
no longer has stay in the index: delete them there, by their source.

Fields are texts, numbers, true or false, and lists of texts; nulls and empty cells are left out.
What can't be loaded is told with its file and line, and left out; the exit status is then 1.
"""
EXAMPLES = """
examples:
  cascade load articles.jsonl
  cascade load people.csv --text-field bio --id-column email --namespace people
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
    add_place(parser)
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--format", choices=FORMATS, help="what the files are; without, as their names say"
    )
    reading.add_argument(
        "--text-field", metavar="NAME", help="the field that has the text; PINECONE_TEXT_FIELD"
    )
    reading.add_argument("--id-column", metavar="NAME", help="the field that has the id")
    reading.add_argument(
        "--flatten", action="store_true", help='{"a": {"b": 1}} becomes a field a.b'
    )
    reading.add_argument("--delimiter", type=_delimiter, help="of CSV: one character, or tab")
    reading.add_argument("--strings", action="store_true", help="every CSV cell is a text")
    reading.add_argument(
        "--stop-on-error", action="store_true", help="stop at the first thing that can't be loaded"
    )
    writing = parser.add_argument_group("writing")
    writing.add_argument(
        "--batch-size",
        type=whole(1, 10_000),
        metavar="N",
        help="records that are written together; without, what the target likes best",
    )
    writing.add_argument(
        "--concurrency",
        type=whole(1, 64),
        default=4,
        metavar="N",
        help="batches that are on their way at once (4)",
    )
    writing.add_argument(
        "--resume",
        action="store_true",
        help="go on where the same load was interrupted, whichever way",
    )
    writing.add_argument(
        "--state", metavar="FILE", help="where how far it has come is kept; in DATA_DIR/loads"
    )
    parser.set_defaults(run=_load, quiet=True)


def _load(settings: Settings, options: argparse.Namespace) -> int:
    async def command(interrupt: Interrupt) -> int:
        found = find(options.files, options.format)
        _check(found, options)
        empty = settings.model_copy(update={"load_samples": False})
        async with connect(empty, options.url, interrupt) as target:
            return await _Session(settings, options, found, target).run(interrupt)

    return run(command)


class _Session:
    """One run of `load`: the parts put together, and what is said at the end."""

    def __init__(
        self, settings: Settings, options: argparse.Namespace, found: Found, target: Target
    ) -> None:
        self._options = options
        self._found = found
        self._target = target
        self._meter = Meter()
        self._reading = Options(
            Rules(target.text_field, options.text_field, options.id_column, options.flatten),
            options.delimiter,
            options.strings,
        )
        self._journal = _journal(settings, options, found, self._reading)
        self._begin = self._where_to_begin()
        self._progress = Progress(sys.stderr, self._snapshot, columns())
        self._load = Load(
            target,
            options.namespace or "",
            report=lambda fault: self._progress.fault(printable(str(fault))),
            journal=self._journal,
            begin=self._begin,
            concurrency=options.concurrency,
            stop_on_error=options.stop_on_error,
            on_stop=self._meter.stop,
        )

    async def run(self, interrupt: Interrupt) -> int:
        self._seconds = stopwatch()
        stream = items(self._found, self._reading, self._meter)
        size = self._options.batch_size or self._target.batch_size
        try:
            with contextlib.closing(batches(stream, size, self._begin.position)) as source:
                async with self._progress.shown():
                    with interrupt.asks(self._load.stop):
                        await self._load.run(source)
        finally:
            interrupted = interrupt.number is not None
            self._say_what_is_done(interrupted)
        if interrupted:
            return 0  # `interrupt` knows which status it is
        if self._journal:
            self._journal.clear()
        if not self._load.tally.seen and not self._begin.position:
            raise CommandFailed("there is nothing in what was given: no record was loaded")
        return 1 if self._failed else 0

    @property
    def _failed(self) -> int:
        return self._begin.failed + self._load.tally.failed

    def _where_to_begin(self) -> Mark:
        if not self._options.resume:
            if self._journal:
                self._journal.clear()
            return Mark()
        mark = self._journal.mark() if self._journal else None
        if mark is None:
            _note("no load of just this was interrupted: it begins at the beginning")
        return mark or Mark()

    def _say_what_is_done(self, interrupted: bool) -> None:
        tally, seconds = self._load.tally, self._seconds()
        done = f"{tally.written:,} record{'' if tally.written == 1 else 's'}"
        parts = [f"loaded {done} in {seconds:.1f} s ({rate(tally.written, seconds):,.0f}/s)"]
        if self._begin.position:
            parts.append(f"after {self._begin.written:,} before")
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if skipped := [f"{n:,} {kind}" for kind, n in self._found.skipped.items() if n]:
            parts.append(f"skipped {' and '.join(skipped)} files")
        if interrupted:
            parts.append("interrupted" + ("; --resume goes on" if self._journal else ""))
        print(", ".join(parts), flush=True)

    def _snapshot(self) -> Snapshot:
        tally = self._load.tally
        return Snapshot(
            tally.written,
            tally.failed,
            self._load.retries,
            self._meter.read,
            self._found.size,
            self._seconds(),
        )


def _check(found: Found, options: argparse.Namespace) -> None:
    if options.resume and any(each.changed is None for each in found.inputs):
        raise CommandFailed("--resume needs files: what came from a pipe can't be read again")
    texts = [each.name for each in found.inputs if each.format in TEXTS]
    if texts and (options.text_field or options.id_column):
        raise CommandFailed(f"{texts[0]}: a text has no columns for --text-field or --id-column")


def _journal(
    settings: Settings, options: argparse.Namespace, found: Found, reading: Options
) -> Journal | None:
    """None where nothing can be resumed."""
    if any(each.changed is None for each in found.inputs):
        return None
    if options.state:
        path = Path(options.state)
    else:
        path = Path(settings.data_dir, "loads")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise CommandFailed(f"DATA_DIR: {path} can't be made: {exc.strerror}") from exc
    return Journal(path, _identity(settings, options, found, reading))


def _identity(
    settings: Settings, options: argparse.Namespace, found: Found, reading: Options
) -> dict[str, Any]:
    """What makes a load this one: what is read, how, and where it goes."""
    place = check_url(options.url) if options.url else str(Path(settings.data_dir).resolve())
    return {
        "files": [
            (str(each.path and each.path.resolve()), each.source, each.size, each.changed)
            for each in found.inputs
        ],
        "formats": [each.format for each in found.inputs],
        "faults": [str(fault) for fault in found.faults],
        "reading": asdict(reading),
        "place": place,
        "hosts": [
            settings.pinecone_dense_index_host or settings.pinecone_dense_index,
            settings.pinecone_sparse_index_host or settings.pinecone_sparse_index,
        ],
        "namespace": options.namespace or settings.pinecone_namespace,
    }


def _delimiter(value: str) -> str:
    value = {"tab": "\t", r"\t": "\t"}.get(value, value)
    if not is_delimiter(value):
        raise argparse.ArgumentTypeError("must be one character, or tab")
    return value


def _note(sentence: str) -> None:
    print(f"cascade: {sentence}", file=sys.stderr)
