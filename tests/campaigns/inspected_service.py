"""The process that `abandon.py` looks into: the service, and what it holds, told on demand.

The first line on stdout is its address. Each line on stdin is answered with a line of JSON; the end
of stdin is the end of the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import resource
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from service.app import create_app
from service.lifecycle import Lifecycle
from service.logs import configure_logging
from service.server.process import Server, address, listen
from service.settings import load_settings

PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Held:
    """What the process holds at one moment."""

    tasks: list[str]
    descriptors: list[str]
    threads: int
    objects: int
    places: int
    waiting: int
    memory_mib: float


async def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_level, "json", settings.secrets)
    lifecycle = Lifecycle()
    app = create_app(settings, lifecycle)
    places = app.extensions["cascade.admission"]
    stop = asyncio.Event()

    def asked() -> None:
        if not os.read(0, 1024):
            asyncio.get_running_loop().remove_reader(0)
            stop.set()
            return
        gc.collect()
        tasks = [getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks()]
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        held = Held(
            sorted(tasks),
            sorted(_descriptors()),
            threading.active_count(),
            len(gc.get_objects()),
            places.in_use,
            len(places.queue),
            pages * PAGE / 2**20,
        )
        print(json.dumps(asdict(held)), flush=True)

    with listen(settings.host, settings.port) as listener:

        def ready() -> None:
            asyncio.get_running_loop().add_reader(0, asked)
            print(address(listener), flush=True)

        server = Server(app, lifecycle, settings.drain_timeout_s)
        await server.serve(listener, stop, ready, shared=False)


def _descriptors() -> Iterator[str]:
    """What each is of: a path, or a kind of thing."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that the directory is read with
            yield re.sub(r":\[\d+\]$", "", str(link.readlink()))


if __name__ == "__main__":
    uvloop.run(main())
    sys.exit(0)
