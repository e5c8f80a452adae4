"""`load`: records from files into the index, with progress; resumable."""

from __future__ import annotations

import argparse
import contextlib
import sys

from service.commands.connect import connect
from service.commands.interrupt import Interrupt, run
from service.commands.load_arguments import add_load_arguments
from service.commands.load_checkpoint import checkpoint_file
from service.commands.load_report import ErrorLog, Notes
from service.commands.terminal import columns, printable
from service.errors import CommandFailed
from service.ingest.batches import batches
from service.ingest.checkpoint import Checkpoint
from service.ingest.formats.documents import EXTRA
from service.ingest.inputs import DOCUMENTS, TEXT_FORMATS, FoundInputs, find_inputs
from service.ingest.load import Load
from service.ingest.parsing import ParseOptions, parse_inputs
from service.ingest.progress import Progress, Snapshot, rate, stopwatch
from service.ingest.reading import ReadMeter
from service.ingest.record import RecordError, RecordMapping
from service.ingest.target import Target
from service.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    add_load_arguments(parser)
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
        self._checkpoints = checkpoint_file(settings, options, found, self._reading)
        self._begin = self._starting_point()
        self._progress = Progress(sys.stderr, self._snapshot, columns(), self._errors.hint)
        self._load = Load(
            target,
            options.namespace or "",
            report=self._report_error,
            checkpoints=self._checkpoints,
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
        if self._checkpoints:
            self._checkpoints.clear()
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
            if self._checkpoints:
                self._checkpoints.clear()
            return Checkpoint()
        saved = self._checkpoints.read() if self._checkpoints else None
        if saved is None:
            _note("no interrupted load of these files was found; starting from the beginning")
        return saved or Checkpoint()

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
            parts.append("interrupted" + ("; --resume goes on" if self._checkpoints else ""))
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


def _note(sentence: str) -> None:
    print(f"cascade: {sentence}", file=sys.stderr)
