"""Uploads of imports: a form with a file, or the file itself."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from quart import Request
from werkzeug.datastructures import Headers

from service.web.http_connection import request_class
from service.web.imports.uploads import choose_format, receive_upload
from tests.fuzz.parsers.errors import answered_errors
from tests.fuzz.parsers.resources import run

PATH = "/api/imports"
ODD_LINE_ENDS = re.compile(rb"\r(?!\n)|\r\n\n|\n\n--")
STREAMED = request_class({}, {PATH})


def upload(data: bytes) -> None:
    """The first line is the Content-Type, and the rest is the body.

    How the body is divided into chunks makes no difference, except to line ends that no client
    sends: a CR alone, of which Werkzeug can't know whether an LF follows, an LF after CR LF, and
    a boundary that follows the LF LF of a head at once.
    """
    head, _, body = data.partition(b"\n")
    smallest = 1 + len(body) // 256  # many chunks take long
    received = [run(_receive(head.decode("latin1"), body, size)) for size in (smallest, 2**20)]
    assert ODD_LINE_ENDS.search(body) or received[0] == received[1], received


async def _receive(content_type: str, body: bytes, size: int) -> object:
    request = _request(content_type)
    sender = asyncio.create_task(_send(request, body, size))
    result: object = None
    try:
        with answered_errors():
            received = await receive_upload(request, 60)
            content = b"".join([chunk async for chunk in received.chunks])
            choose_format("csv", None, received)
            assert received.name is None or (received.name.isprintable() and received.name)
            result = (received.format, received.name, received.charset, content)
    finally:
        sender.cancel()
        await asyncio.wait([sender])
    return result


def _request(content_type: str) -> Request:
    scope: Any = {}

    async def push(*_: object) -> None: ...

    headers = Headers()
    headers.add("Content-Type", content_type.replace("\r", " "))
    return STREAMED(
        "POST",
        "http",
        PATH,
        b"",
        headers,
        "",
        "1.1",
        scope,
        send_push_promise=push,
    )


async def _send(request: Request, body: bytes, size: int) -> None:
    for start in range(0, len(body), size):
        request.body.append(body[start : start + size])
        await asyncio.sleep(0)
    request.body.set_complete()
