"""The command line: `cascade …` or `python -m service …`.

Each command is a module of `service.commands` with a `configure`, which fills in its parser. Only
the module of the command that runs is imported, so that `--version` and `--help` answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TextIO

from service.errors import CascadeError
from service.version import VERSION

COMMANDS = {
    "serve": "serve the API",
    "load": "load JSON Lines, CSV, text and Markdown",
    "search": "search, and print a table",
    "backup": "copy the records to one file, also of a running service",
    "restore": "fill an empty data directory with a backup",
    "keys": "create, list, revoke and rotate API keys",
    "doctor": "check what the settings name, and repair it",
    "completion": "print a script that completes commands in a shell",
}
COMPLETION = "completion"  # the one command that reads no settings
ENV_FILE = Path(".env")
CLIENT_KEY = "SERVICE_API_KEY"  # of the commands with `--url`; `serve` has SERVICE_API_KEYS
WORKER = "_worker"  # what `serve` starts with WEB_CONCURRENCY above 1
MISSING = (
    "the package {} is missing in {}; run `make serve` once and use .venv/bin/cascade, or install "
    "Cascade with `pip install .`"
)
PRIVATE = 0o077
BROKEN_PIPE = 141  # the shell's status of a process that SIGPIPE ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; a `CascadeError` is one line on stderr."""
    os.umask(PRIVATE)  # records, uploads and backups are for the user that runs this
    for stream in (sys.stdout, sys.stderr):
        _replace_unencodable(stream)
    try:
        status = _run(_parse(list(sys.argv[1:] if arguments is None else arguments)))
        sys.stdout.flush()
    except CascadeError as exc:
        print(f"cascade: {exc.detail}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "service":
            raise
        print(f"cascade: {MISSING.format(exc.name, sys.executable)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def _run(options: argparse.Namespace) -> int:
    if options.command == COMPLETION:
        from service.commands.completion import script

        print(script(_parser(COMMANDS), options.shell))
        return 0

    from service.logs import configure_logging
    from service.settings import load_settings

    options_given = ((name, getattr(options, name)) for name in options.settings)
    overrides = {name: value for name, value in options_given if value is not None}
    settings = load_settings(ENV_FILE, **overrides)
    # A command that a person watches reports its own errors: they are not logged as well.
    quiet = options.quiet and settings.log_level != "DEBUG"
    level = "ERROR" if quiet else settings.log_level
    configure_logging(level, settings.log_format, settings.secrets)
    if options.command != WORKER:
        _warn_of_unknown_variables(options.command, quiet=quiet)
    status: int = options.run(settings, options)
    return status


def _warn_of_unknown_variables(command: str, *, quiet: bool) -> None:
    import logging

    from service.settings import Settings, unknown_variables

    known = {name.upper() for name in Settings.model_fields}
    if command != "serve":
        known.add(CLIENT_KEY)
    for sentence in unknown_variables(known, ENV_FILE):
        if quiet:
            print(f"cascade: warning: {sentence}", file=sys.stderr)
        else:
            logging.getLogger(__name__).warning("%s", sentence)


def _replace_unencodable(stream: TextIO) -> None:
    """Print `?` for a character that the encoding of the terminal lacks."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _parse(arguments: list[str]) -> argparse.Namespace:
    chosen = next((each for each in arguments if not each.startswith("-")), "")
    return _parser([chosen]).parse_args(arguments)


def _parser(chosen: Collection[str]) -> argparse.ArgumentParser:
    """The parser of the command line, with the options of the chosen commands."""
    parser = argparse.ArgumentParser(
        prog="cascade",
        description="Cascade: an async search service over Pinecone, or with no account.",
        epilog="`cascade COMMAND --help` says more. The settings are environment variables.",
    )
    parser.add_argument("--version", action="version", version=f"cascade {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        command.set_defaults(command=name, quiet=False, settings=())
        if name in chosen:
            importlib.import_module(f"service.commands.{name}").configure(command)
    if WORKER in chosen:
        from service.commands import serve

        worker = commands.add_parser(WORKER)
        worker.set_defaults(command=WORKER, quiet=False, settings=())
        serve.configure_worker(worker)
    return parser
