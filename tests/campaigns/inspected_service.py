"""The process that `abandon.py` inspects: the service, which reports its resources on demand.

The first line on stdout is its address. Each line on stdin is answered with a line of JSON; the end
of stdin stops the service.
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
class Resources:
    """The resources of the process at one moment."""

    tasks: list[str]
    descriptors: list[str]
    threads: int
    objects: int
    slots: int
    queued: int
    memory_mib: float


async def main() -> None:
    settings = load_settings()
    configure_logging(settings.log_level, "json", settings.secrets)
    lifecycle = Lifecycle()
    app = create_app(settings, lifecycle)
    admission = app.extensions["cascade.admission"]
    stop = asyncio.Event()

    def report() -> None:
        if not os.read(0, 1024):
            asyncio.get_running_loop().remove_reader(0)
            stop.set()
            return
        gc.collect()
        tasks = [getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks()]
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resources = Resources(
            sorted(tasks),
            sorted(_descriptors()),
            threading.active_count(),
            len(gc.get_objects()),
            admission.in_use,
            len(admission.queue),
            pages * PAGE / 2**20,
        )
        print(json.dumps(asdict(resources)), flush=True)

    with listen(settings.host, settings.port) as listener:

        async def ready() -> None:
            asyncio.get_running_loop().add_reader(0, report)
            print(address(listener), flush=True)

        server = Server(app, lifecycle, settings.drain_timeout_s)
        await server.serve(listener, stop, ready, shared=False)


def _descriptors() -> Iterator[str]:
    """The path or the kind of each open file descriptor."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the directory itself
            yield re.sub(r":\[\d+\]$", "", str(link.readlink()))


if __name__ == "__main__":
    uvloop.run(main())
    sys.exit(0)
