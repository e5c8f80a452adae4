"""A form with a file is read alike, however the network divides it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from quart import Quart

from service.web.imports.multipart import FormFile

CONTENT = b"_id,chunk_text\r\n1,--b-\r\n--bread\r\n\r\n"
HEAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.csv"\r\n\r\n'


async def read_file(form: bytes, sizes: list[int]) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        start = 0
        for size in [*sizes, len(form)]:
            yield form[start : start + size]
            start += size

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with Quart(__name__).test_request_context("/", method="POST", headers=headers) as context:
        file = FormFile(context.request, chunks())
        assert (await file.read_head()).filename == "a.csv"
        return b"".join([chunk async for chunk in file])


@pytest.mark.parametrize("end", [b"\r\n--b--\r\n", b"\n--b--", b"\r\n--b--  \r\n"])
async def test_form_file_is_the_same_wherever_chunks_end(end: bytes) -> None:
    form = HEAD + CONTENT + end
    for first in range(len(form)):
        assert await read_file(form, [first]) == CONTENT, form[:first]
    assert await read_file(form, [1] * len(form)) == CONTENT


async def test_form_file_with_endless_boundary_line_is_passed_on() -> None:
    """What begins like a boundary is content, and is not held in memory until its line ends."""
    content = b"\r\n--b" + b"x" * 100_000
    form = HEAD + content + b"\r\n--b--\r\n"
    assert await read_file(form, [1000] * 100) == content
