"""The variants: Cascade, the two baselines and the hello-world; whether each is installed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bench.cascade import MODULE, environment
from bench.processes import ROOT, Process, free_port, running

PATHS = {
    "semantic": "/api/semantic-search",
    "lexical": "/api/lexical-search",
    "cascading": "/api/cascading-retrieval",
}
QUESTION = "how+do+I+keep+bread+fresh"
VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Variant:
    """A service to measure, with its own Python environment."""

    name: str
    module: tuple[str, ...]
    packages: tuple[str, ...]  # reported with the figures
    python: str = sys.executable
    searches: bool = True

    def versions(self) -> dict[str, str] | None:
        """The versions of its packages; None if any is not installed."""
        script = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.check_output(
                [self.python, "-c", script, *self.packages],
                stderr=subprocess.DEVNULL,
                text=True,
                timeout=VERSION_TIMEOUT_S,
            )
            return dict(zip(self.packages, told.split(), strict=True))
        return None

    def target(self, search: str, *, same: bool) -> str:
        """The target of a search; numbered, so that all requests differ, unless `same`."""
        if not self.searches:
            return "/"
        question = QUESTION if same else QUESTION + "+{n}"
        rerank = "&rerank=per-leg" if search == "cascading" else ""  # as the baselines do
        return f"{PATHS[search]}?text_query={question}{rerank}"

    @contextlib.contextmanager
    def running(self, upstream: Process, cache_ttl: int) -> Iterator[Process]:
        port = free_port()
        settings = environment(port, upstream, cache_ttl=cache_ttl)
        with running(self.name, port, self.module, settings, self.python) as process:
            yield process


_WEB = ("fastapi", "uvicorn", "uvloop", "httptools")
CASCADE = Variant("cascade", tuple(MODULE), ("quart", "hypercorn", "uvloop", "pinecone", "aiohttp"))
STOCK = Variant("stock", ("bench.service.baseline_stock",), (*_WEB, "pinecone"))
AIOHTTP = Variant(
    "aiohttp",
    ("bench.service.baseline_aiohttp",),
    (*_WEB, "pinecone", "aiohttp"),
    python=str(ROOT / ".bench-pinecone6" / "bin" / "python"),
)
HELLO = Variant("hello", ("bench.hello",), ("quart", "hypercorn", "uvloop"), searches=False)
