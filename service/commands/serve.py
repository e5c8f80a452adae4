"""`serve`, and the `_worker` that it starts with WEB_CONCURRENCY above 1."""

from __future__ import annotations

import argparse
import logging
import socket
from typing import TYPE_CHECKING

from service.server.process import listen, run
from service.server.supervisor import supervise
from service.settings import Settings

if TYPE_CHECKING:
    from service.commands.parsing import Commands

logger = logging.getLogger(__name__)


def add_to(commands: Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve the API",
        description="Serve the API. The settings are environment variables: see README.md.",
    )
    serve.set_defaults(run=_serve)
    worker = commands.add_parser("_worker")
    worker.add_argument("listener", type=int)
    worker.add_argument("ready", type=int)
    worker.set_defaults(run=_work)


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
