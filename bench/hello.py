"""A minimal Quart app on Hypercorn: `PORT=8000 python -m bench.hello`."""

from __future__ import annotations

import os

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart

app = Quart(__name__)


@app.get("/")
async def hello() -> dict[str, str]:
    return {"hello": "world"}


def main() -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['PORT']}"]
    config.accesslog = None
    uvloop.run(serve(app, config))


if __name__ == "__main__":
    main()
