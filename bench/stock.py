"""The variant to compare with: the same app over one stock client per index.

`python -m bench.stock` serves like `python -m service serve` in one process, with settings from the
environment. Each index has a single `pinecone.AsyncIndex` with the defaults of the client (httpx
transport, connection pool, retries) and no limit on concurrent calls. The size of that connection
pool depends on the number of CPUs.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop
from pinecone import AsyncIndex

from service.app import create_app
from service.errors import StartupFailed
from service.lifecycle import Lifecycle
from service.logs import configure_logging
from service.server.process import Server, listen
from service.settings import Settings, load_settings

UNLIMITED_CALLS = 1024  # the maximum of the setting; more than is ever in flight here


def open_stock(host: str, api_key: str, _: int) -> AsyncIndex:
    """Create a client as its documentation says."""
    return AsyncIndex(host=host, api_key=api_key)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lifecycle = Lifecycle()
    app = create_app(settings, lifecycle, open_lane=open_stock)
    server = Server(app, lifecycle, settings.drain_timeout_s)
    with listen(settings.host, settings.port) as listener:
        await server.serve(listener, stop, lambda: asyncio.sleep(0), shared=False)


def main() -> int:
    try:
        settings = load_settings(
            Path(".env"), pinecone_lanes=1, pinecone_lane_calls=UNLIMITED_CALLS
        )
        configure_logging(settings.log_level, settings.log_format, settings.secrets)
        uvloop.run(serve(settings))
    except StartupFailed as exc:
        print(f"stock: {exc.detail}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
