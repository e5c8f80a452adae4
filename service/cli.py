"""The command line: `python -m service …`. Each command is a module of `service.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from service.commands import doctor, load, search, serve
from service.errors import CascadeError
from service.logs import configure_logging
from service.settings import Settings, load_settings
from service.version import VERSION

Command = Callable[[Settings, argparse.Namespace], int]

COMMANDS = (serve, load, search, doctor)
BROKEN_PIPE = 141  # what a shell says of a process that SIGPIPE ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; whatever keeps it from its end is one line on stderr and status 1."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        _never_fail_on_a_letter(stream)
    try:
        settings = load_settings(Path(".env"))
        # A command that people watch says itself what goes wrong, once.
        quiet = getattr(options, "quiet", False) and settings.log_level != "DEBUG"
        level = "ERROR" if quiet else settings.log_level
        configure_logging(level, settings.log_format, settings.secrets)
        command: Command = options.run
        status = command(settings, options)
        sys.stdout.flush()
    except CascadeError as exc:
        print(f"cascade: {exc.detail}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def _never_fail_on_a_letter(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Cascade: an async search service over Pinecone, or with no account.",
        epilog="`python -m service COMMAND --help` says more. "
        "The settings are environment variables: see README.md.",
    )
    parser.add_argument("--version", action="version", version=f"cascade {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser
