"""Starts `python -m MODULE` by forking a process that has imported the service already.

The imports take longer than most tests, and the end-to-end tests start more than a hundred
processes. A forked process is one of its own all the same: it has its own pid, environment,
standard streams and signals, runs `__main__` from the top, and ends as the interpreter ends.
What a module reads from the environment while it is imported is the fork server's.

`python -m tests.fork_server FD` is that server: it reads requests from the socket FD until the
socket is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parent.parent
PRELOADED = ("service.cli", "service.app", "service.server.process", "service.backends.embedded")
MAX_REQUEST = 100_000
STDERR = 2


class ForkedProcess:
    """The part of `subprocess.Popen` that the tests use, for a child of the fork server."""

    def __init__(self, channel: socket.socket, pipes: Mapping[str, int]) -> None:
        self._channel = channel
        self.pid = int(channel.recv(64))
        self.returncode: int | None = None
        self.stdin = _text(pipes.get("stdin"), "w")
        self.stdout = _text(pipes.get("stdout"), "r")
        self.stderr = _text(pipes.get("stderr"), "r")

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._channel.settimeout(timeout)
            try:
                self.returncode = int(self._channel.recv(64))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0) from None
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, data: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Write `data`, and read both outputs to their ends."""
        with ThreadPoolExecutor(3) as threads:
            threads.submit(self._feed, data)
            outputs = [threads.submit(_read, each) for each in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return outputs[0].result(), outputs[1].result()

    def _feed(self, data: str | None) -> None:
        if self.stdin:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(data or "")

    def __enter__(self) -> ForkedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pipes, and wait."""
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()


Child = ForkedProcess | subprocess.Popen[str]


def start(
    module: str,
    *arguments: str,
    env: Mapping[str, str],
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    start_new_session: bool = False,
) -> Child:
    """`python -m MODULE ARGUMENTS` in the root of the project, with the arguments of `Popen`."""
    if any(name.startswith("COVERAGE_") for name in env):  # coverage starts with the interpreter
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=dict(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=start_new_session,
            text=True,
        )
    streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    return _server().start([module, *arguments], dict(env), streams, start_new_session)


class ForkServer:
    """The process that forks, and the socket over which it takes requests."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
                cwd=ROOT,
                # A process that has threads can't be forked safely.
                env=kept | {"OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def stop(self) -> None:
        self._requests.close()
        self._process.wait(60)

    def start(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        streams: Mapping[str, int | IO[Any] | None],
        new_session: bool,
    ) -> ForkedProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pipes: dict[str, int] = {}
        with contextlib.ExitStack() as stack, theirs:
            given = [_stream(name, each, pipes, stack) for name, each in streams.items()]
            request = {"command": command, "env": env, "new_session": new_session}
            socket.send_fds(
                self._requests, [json.dumps(request).encode()], [*given, theirs.fileno()]
            )
        return ForkedProcess(ours, pipes)


@functools.cache
def _server() -> ForkServer:
    server = ForkServer()
    atexit.register(server.stop)
    return server


def _stream(
    name: str, stream: int | IO[Any] | None, pipes: dict[str, int], stack: contextlib.ExitStack
) -> int:
    """The descriptor that the process gets; our end of a pipe is put into `pipes`."""
    if stream == subprocess.PIPE:
        reading, writing = os.pipe()
        pipes[name], given = (writing, reading) if name == "stdin" else (reading, writing)
        stack.callback(os.close, given)
        return given
    if stream == subprocess.DEVNULL:
        given = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, given)
        return given
    if stream is None:
        return 1 if name == "stdout" else STDERR
    return stream if isinstance(stream, int) else stream.fileno()


def _text(descriptor: int | None, mode: str) -> TextIOWrapper | None:
    if descriptor is None:
        return None
    return TextIOWrapper(os.fdopen(descriptor, f"{mode}b"), encoding="utf-8", newline="")


def _read(stream: TextIOWrapper | None) -> str:
    return stream.read() if stream else ""


def serve(requests: socket.socket) -> Sequence[str] | None:
    """Fork a process for each request. Returns its command in that process, None in this one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reaps the reporting processes
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST, 4)
        if not message:
            return None
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *streams, channel = descriptors
            with socket.socket(fileno=channel) as reports:
                if pid := os.fork():
                    _report_end(pid, reports)
                request = json.loads(message)
                if request["new_session"]:
                    os.setsid()
                reports.send(str(os.getpid()).encode())
            return _become(request, streams)
        for descriptor in descriptors:
            os.close(descriptor)


def _report_end(pid: int, reports: socket.socket) -> NoReturn:
    """Tell how a child ended. Nothing else is left open: the pipes are the child's."""
    os.closerange(0, reports.fileno())
    os.closerange(reports.fileno() + 1, reports.fileno() + 64)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ConnectionError):
        reports.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(request: Any, streams: Sequence[int]) -> Sequence[str]:
    """Make this process what `subprocess.Popen` would have started; returns its command."""
    for target, descriptor in enumerate(streams):
        os.dup2(descriptor, target)
        if descriptor > STDERR:
            os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", 1 if os.isatty(1) else -1, closefd=False)
    sys.stderr = os.fdopen(STDERR, "w", 1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["env"])
    command: Sequence[str] = request["command"]
    return command


def main() -> None:
    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # a collection in a child would copy every page
    command = serve(socket.socket(fileno=int(sys.argv[1])))
    if command is not None:
        sys.argv[1:] = command[1:]
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
