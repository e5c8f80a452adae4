"""`serve`: the API, in one process or in several.

With WEB_CONCURRENCY above 1, each process runs `_worker`, which inherits the listening socket.
"""

from __future__ import annotations

import argparse
import logging
import socket

from service.server.process import listen, run
from service.server.supervisor import supervise
from service.settings import Settings

logger = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Serve the API. The settings are environment variables."
    parser.set_defaults(run=_serve)


def configure_worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("listener", type=int, help="file descriptor of the listening socket")
    parser.add_argument("ready", type=int, help="file descriptor to write to when ready")
    parser.set_defaults(run=_work, quiet=False)


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
