"""`serve`: the API, in one process or in several.

With WEB_CONCURRENCY above 1, each process runs `_worker`, which inherits the listening socket.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
from pathlib import Path

from service.access.policy import is_loopback
from service.commands.parsing import add_data_dir, whole
from service.keys.keys import keys_file
from service.server.process import listen, run
from service.server.supervisor import supervise
from service.settings import Settings
from service.web.metrics.workers import WorkerGroup

logger = logging.getLogger(__name__)

MAX_PORT = 65_535
MAX_WORKERS = 64


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serve the API. The settings are environment variables; an option takes precedence."
    )
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (sets HOST)")
    parser.add_argument(
        "--port",
        type=whole(0, MAX_PORT),
        metavar="N",
        help="port to listen on, 0 for a free one (sets PORT)",
    )
    parser.add_argument(
        "--workers",
        dest="web_concurrency",
        type=whole(1, MAX_WORKERS),
        metavar="N",
        help="number of processes, with Pinecone (sets WEB_CONCURRENCY)",
    )
    add_data_dir(parser)
    parser.set_defaults(run=_serve, settings=("host", "port", "web_concurrency", "data_dir"))


def configure_worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("listener", type=int, help="file descriptor of the listening socket")
    parser.add_argument("ready", type=int, help="file descriptor to write to when ready")
    parser.add_argument("folder", help="folder of the sockets of all workers")
    parser.add_argument("number", type=int, help="number of this worker, from 1")
    parser.add_argument("--announce", action="store_true", help="log what has started")
    parser.set_defaults(run=_work)


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    with listen(settings.host, settings.port) as listener:
        _warn_of_exposure(settings, listener)
        if settings.web_concurrency > 1 and settings.backend == "pinecone":
            return supervise(settings, listener, _environment(settings, options))
        if settings.web_concurrency > 1:
            logger.warning("the embedded engine runs in one process: WEB_CONCURRENCY is ignored")
        run(settings, listener)
        return 0


def _warn_of_exposure(settings: Settings, listener: socket.socket) -> None:
    has_keys = bool(settings.service_keys) or keys_file(settings.data_dir).exists()
    if not has_keys and not is_loopback(settings.host):
        logger.warning(
            "HOST is %s and there are no API keys: anyone who can connect to port %d can search "
            "and export every record. Set SERVICE_API_KEYS, or HOST=127.0.0.1",
            settings.host,
            listener.getsockname()[1],
        )


def _environment(settings: Settings, options: argparse.Namespace) -> dict[str, str]:
    """The environment of the workers: the settings that were given as options are part of it."""
    given = {name.upper(): str(getattr(settings, name)) for name in options.settings}
    return os.environ | given


def _work(settings: Settings, options: argparse.Namespace) -> int:
    with socket.socket(fileno=options.listener) as listener:
        workers = WorkerGroup(Path(options.folder), options.number, settings.web_concurrency)
        run(settings, listener, options.ready, announces=options.announce, workers=workers)
        return 0
