"""`python -m tests.upstream`: run the fake Pinecone alone, and print settings that point at it."""

from __future__ import annotations

import signal

from tests.upstream import API_KEY, Upstream


def main() -> None:
    with Upstream() as upstream:
        print(f"export PINECONE_API_KEY={API_KEY}")
        print(f"export PINECONE_DENSE_INDEX_HOST={upstream.host('dense')}")
        print(f"export PINECONE_SPARSE_INDEX_HOST={upstream.host('sparse')}")
        print(f"export PINECONE_CONTROLLER_HOST={upstream.host('control')}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
