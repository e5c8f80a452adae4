"""`_worker`: one of the processes that `serve` starts with WEB_CONCURRENCY above 1."""

from __future__ import annotations

import argparse
import socket

from service.server.process import run
from service.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("listener", type=int, help="file descriptor of the listening socket")
    parser.add_argument("ready", type=int, help="file descriptor to write to when ready")
    parser.set_defaults(run=_work, quiet=False)


def _work(settings: Settings, options: argparse.Namespace) -> int:
    with socket.socket(fileno=options.listener) as listener:
        run(settings, listener, options.ready)
        return 0
