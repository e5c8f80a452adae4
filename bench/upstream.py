"""A minimal stand-in for Pinecone's data plane: `python -m bench.upstream`.

Every search returns the same ten hits after a delay, reranked or not; a share of the searches can
take several times as long. Writes are acknowledged after a delay of their own and discarded.
`/restart` returns the number of searches and of abandoned ones, and resets both; every other
request is answered like `describe_index_stats`, without delay. Bodies are not parsed, keys are not
checked, and only HTTP/1.1 with Content-Length is supported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
from collections.abc import Sequence
from typing import cast

import uvloop

WORDS = (
    "a record of about forty words stands in for what a search finds in a real index where texts "
    "are cut into chunks of a paragraph or so and this one says very little over and over again"
)


SEED = 1
RESTART = "/restart"


def _response(status: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


FOUND = _response(
    "200 OK",
    {
        "result": {
            "hits": [
                {
                    "_id": f"record-{n}",
                    "_score": round(0.95 - n / 20, 2),
                    "fields": {"chunk_text": f"{n}: {WORDS}"},
                }
                for n in range(10)
            ]
        },
        "usage": {"read_units": 1, "embed_total_tokens": 5},
    },
)
STATS = _response(
    "200 OK",
    {
        "namespaces": {"__default__": {"vectorCount": 10}},
        "dimension": 1024,
        "indexFullness": 0,
        "totalVectorCount": 10,
    },
)
WRITTEN = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"
NO_LENGTH = _response("411 Length Required", {})


class Searches:
    """The delay of each search, and the number of searches since the last restart.

    One is abandoned if its connection is closed before it is answered.

    Which ones are slow is drawn by a generator with a fixed seed, one draw for each search in the
    order of their arrival: no rhythm that a service could meet, and the same pattern after every
    restart, so that nobody who is measured has better luck.
    """

    def __init__(self, delay_s: float, slow_share: float = 0.0, slow_times: float = 1.0) -> None:
        self._delay_s = delay_s
        self._slow_s = delay_s * slow_times
        self._slow_share = slow_share
        self.restart()

    def restart(self) -> None:
        self.count = self.abandoned = 0
        self._draw = random.Random(SEED).random

    def next_delay_s(self) -> float:
        self.count += 1
        return self._slow_s if self._draw() < self._slow_share else self._delay_s


class Upstream(asyncio.Protocol):
    """One connection. Requests are answered in order."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, searches: Searches, write_delay_s: float = 0.0
    ) -> None:
        self._loop = loop
        self._searches = searches
        self._write_delay_s = write_delay_s
        self._received = b""
        self._answering = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._answering:
            self._next()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._searches.abandoned += self._answering

    def _next(self) -> None:
        """Remove and return one complete request from the buffer, if there is one."""
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        fields = head.lower()
        if b"\r\ntransfer-encoding:" in fields:
            self._refuse()
            return
        value = fields.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        length = int(value or 0)
        if len(rest) < length:
            return
        self._received = rest[length:]
        self._answering = True
        target = head.split(b" ", 2)[1]
        if target.startswith(b"/records/namespaces/") and target.endswith(b"/search"):
            self._loop.call_later(self._searches.next_delay_s(), self._answer, FOUND)
        elif target.startswith(b"/records/namespaces/"):
            self._loop.call_later(self._write_delay_s, self._answer, WRITTEN)
        elif target == RESTART.encode():
            counted = {"searches": self._searches.count, "abandoned": self._searches.abandoned}
            self._answer(_response("200 OK", counted))
            self._searches.restart()
        else:
            self._answer(STATS)

    def _answer(self, response: bytes) -> None:
        self._answering = False
        if self._transport is not None:
            self._transport.write(response)
            if self._received:
                self._next()

    def _refuse(self) -> None:
        if self._transport is not None:
            self._transport.write(NO_LENGTH)
            self._transport.close()


async def serve(port: int, searches: Searches, write_delay_s: float) -> None:
    """Answer on a loopback port until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Upstream(loop, searches, write_delay_s), "127.0.0.1", port, backlog=2048
    )
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, default=20.0, help="delay of a search")
    parser.add_argument("--slow-share", type=float, default=0.0, help="of slow searches, 0 to 1")
    parser.add_argument("--slow-times", type=float, default=20.0, help="as long as the others")
    parser.add_argument("--write-delay-ms", type=float, default=0.0)
    options = parser.parse_args(arguments)
    searches = Searches(options.delay_ms / 1000, options.slow_share, options.slow_times)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(options.port, searches, options.write_delay_ms / 1000))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
