"""Runs several worker processes on one port: starts, replaces and stops them.

The supervisor binds the listening socket and never accepts from it. Each worker is a fresh process
that inherits the socket and reports over a pipe when it is ready. The first one is started alone,
so that an error in the settings is reported once; it also logs what has started. A worker that dies
is replaced; when none is left and a replacement can't start either, the service ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping

from service.backoff import Backoff
from service.errors import StartupFailed
from service.server.process import CANCEL_GRACE_S, CLOSE_GRACE_S, address
from service.server.stop_signals import on_stop_signals
from service.settings import Settings

logger = logging.getLogger(__name__)

STABLE_S = 10.0  # a worker that ran this long has started successfully
BACKOFF = Backoff(first_s=0.1, longest_s=5.0, jitter=False)
KILL_GRACE_S = 0.5


class Worker:
    """One worker process, from its start to its end. One that replaces another has its number."""

    def __init__(
        self, number: int, process: asyncio.subprocess.Process, ready: asyncio.StreamReader
    ) -> None:
        self.number = number
        self.process = process
        self._ready = ready

    async def is_ready(self) -> bool:
        """Wait until the worker serves; False if it has ended."""
        return await self._ready.read(1) == b"r"

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def hurry(self) -> None:
        """End the drain at once. A signal would be ambiguous: a terminal sends SIGINT as well."""
        pipe = self.process.stdin
        if pipe is not None and not pipe.is_closing():
            pipe.write(b"h")


class Supervisor:
    """Keeps `settings.web_concurrency` workers on `listener`.

    Each reads the settings from `environment` again. Their metrics meet in `folder`.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        environment: Mapping[str, str],
        folder: str,
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._count = settings.web_concurrency
        self._stop_timeout_s = settings.drain_timeout_s + CANCEL_GRACE_S + CLOSE_GRACE_S
        self._listener = listener
        self._stopping = asyncio.Event()
        self._workers: set[Worker] = set()
        self._serving: set[Worker] = set()
        self._failed = False

    async def run(self) -> int:
        """Run until a signal; returns the exit status."""
        loop = asyncio.get_running_loop()
        on_stop_signals(loop, self._stopping.set, self._hurry)
        keepers = [asyncio.create_task(self._keep(ready)) for ready in await self._start_all()]
        if self._serving and not self._stopping.is_set():
            logger.info("serving on %s with %d workers", address(self._listener), self._count)
        await self._stopping.wait()
        self._listener.close()
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        stopped = await self._wait(keepers)
        return 0 if stopped and not self._failed else 1

    async def _start_all(self) -> list[Worker]:
        first = await self._start(1, "--announce")
        if not await self._until_ready(first):
            await first.process.wait()
            self._failed = not self._stopping.is_set()
            self._stopping.set()
            return []
        others = [await self._start(number) for number in range(2, self._count + 1)]
        await asyncio.gather(*(self._until_ready(worker) for worker in others))
        return [first, *others]

    async def _start(self, number: int, *options: str) -> Worker:
        read_end, write_end = os.pipe()
        fds = (self._listener.fileno(), write_end)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "service", "_worker", *map(str, fds), self._folder, str(number)),
            *options,
            env=self._environment,
            pass_fds=fds,
            stdin=asyncio.subprocess.PIPE,  # EOF there tells the worker that we have died
        )
        os.close(write_end)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb")
        )
        worker = Worker(number, process, reader)
        self._workers.add(worker)
        if self._stopping.is_set():  # the signal came while this one was being started
            worker.signal(signal.SIGTERM)
        return worker

    async def _until_ready(self, worker: Worker) -> bool:
        if await worker.is_ready():
            self._serving.add(worker)
            return True
        return False

    async def _keep(self, worker: Worker) -> None:
        """Watch a worker, and start another one whenever it ends."""
        loop = asyncio.get_running_loop()
        failures = 0  # in a row
        while True:
            started = loop.time()
            status = await worker.process.wait()
            self._workers.discard(worker)
            self._serving.discard(worker)
            if self._stopping.is_set():
                return
            logger.warning("worker %d ended (%d); starting another", worker.process.pid, status)
            settled = loop.time() - started > STABLE_S
            failures = 0 if settled else failures + 1
            pause_s = BACKOFF.pause_s(failures) if failures else 0.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
                return
            worker = await self._start(worker.number)
            if not await self._until_ready(worker) and not self._serving:
                logger.error("no worker is left, and a replacement failed to start; stopping")
                self._failed = True
                self._stopping.set()

    def _hurry(self) -> None:
        for worker in self._workers:
            worker.hurry()

    async def _wait(self, keepers: list[asyncio.Task[None]]) -> bool:
        """Wait for every worker to end; kill those that exceed the timeout."""
        if not keepers:
            return True
        _, waiting = await asyncio.wait(keepers, timeout=self._stop_timeout_s)
        for worker in self._workers:
            logger.error("killed worker %d, which did not stop in time", worker.process.pid)
            worker.signal(signal.SIGKILL)
        if waiting:
            await asyncio.wait(waiting, timeout=KILL_GRACE_S)
        return not waiting


def supervise(settings: Settings, listener: socket.socket, environment: Mapping[str, str]) -> int:
    """Run the workers; returns 0 after a regular stop."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="cascade-", ignore_cleanup_errors=True)
    except OSError as exc:
        raise StartupFailed(
            "WEB_CONCURRENCY: several workers need a folder for temporary files, and there is none "
            f"({exc.strerror}); set TMPDIR to one that can be written"
        ) from exc
    with folder:
        return asyncio.run(Supervisor(settings, listener, environment, folder.name).run())
