"""The command line: `python -m service …`."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from service.errors import StartupFailed
from service.logs import configure_logging
from service.server import listen, run
from service.settings import Settings, load_settings
from service.version import VERSION
from service.workers import supervise

logger = logging.getLogger(__name__)

Command = Callable[[Settings, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; whatever keeps it from starting is one line on stderr and status 1."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(Path(".env"))
        configure_logging(settings.log_level, settings.log_format, settings.secrets)
        command: Command = options.run
        return command(settings, options)
    except StartupFailed as exc:
        print(f"cascade: {exc.detail}", file=sys.stderr)
        return 1


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    with listen(settings.host, settings.port) as listener:
        if settings.web_concurrency > 1 and settings.backend == "pinecone":
            return supervise(settings, listener)
        if settings.web_concurrency > 1:
            logger.warning("the embedded engine runs in one process: WEB_CONCURRENCY is ignored")
        run(settings, listener)
        return 0


def _work(settings: Settings, options: argparse.Namespace) -> int:
    with socket.socket(fileno=options.listener) as listener:
        run(settings, listener, options.ready)
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service", description="Cascade: an async search service over Pinecone."
    )
    parser.add_argument("--version", action="version", version=f"cascade {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve", help="serve the API; the settings are environment variables, see README.md"
    )
    serve.set_defaults(run=_serve)
    worker = commands.add_parser("_worker")  # what `serve` starts with WEB_CONCURRENCY above 1
    worker.add_argument("listener", type=int)
    worker.add_argument("ready", type=int)
    worker.set_defaults(run=_work)
    return parser
