"""How the benchmarks start Cascade: as its users do, with an upstream in Pinecone's place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.processes import Process, free_port, running

MODULE = ["service", "serve"]


def environment(port: int, upstream: Process, *, cache_ttl: int = 0) -> dict[str, str]:
    """Settings of one process. Unless it is the cache that is measured, there is none."""
    return {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "LOG_LEVEL": "WARNING",
        "CACHE_TTL": str(cache_ttl),
        "PINECONE_API_KEY": "bench",
        "PINECONE_DENSE_INDEX_HOST": upstream.url,
        "PINECONE_SPARSE_INDEX_HOST": upstream.url,
        "PINECONE_CONTROLLER_HOST": upstream.url,
    }


@contextlib.contextmanager
def started(*options: str) -> Iterator[tuple[Process, Process]]:
    """The service, and behind it an upstream with these options."""
    port = free_port()
    module = ["bench.upstream", "--port", str(port), *options]
    with running("the upstream", port, module, {}) as upstream:
        port = free_port()
        with running("cascade", port, MODULE, environment(port, upstream)) as service:
            yield service, upstream
