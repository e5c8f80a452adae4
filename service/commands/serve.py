"""`serve`: the API, in one process or in several."""

from __future__ import annotations

import argparse
import logging

from service.server.process import listen, run
from service.server.supervisor import supervise
from service.settings import Settings

logger = logging.getLogger(__name__)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Serve the API. The settings are environment variables."
    parser.set_defaults(run=_serve)


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    with listen(settings.host, settings.port) as listener:
        if settings.web_concurrency > 1 and settings.backend == "pinecone":
            return supervise(settings, listener)
        if settings.web_concurrency > 1:
            logger.warning("the embedded engine runs in one process: WEB_CONCURRENCY is ignored")
        run(settings, listener)
        return 0
