"""Starting Cascade for a benchmark, in front of the benchmark upstream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.processes import Process, free_port, running

MODULE = ["service", "serve"]


def environment(port: int, upstream: Process, *, cache_ttl: int = 0) -> dict[str, str]:
    """Settings of one process. The cache is off by default."""
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
    """Run the service and the upstream behind it; `options` are those of the upstream."""
    port = free_port()
    module = ["bench.upstream", "--port", str(port), *options]
    with running("the upstream", port, module, {}) as upstream:
        port = free_port()
        with running("cascade", port, MODULE, environment(port, upstream)) as service:
            yield service, upstream
