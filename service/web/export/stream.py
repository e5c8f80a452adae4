"""The body of an export: chunks of about the same size, made in threads from pages of records.

Knows nothing of HTTP. Nothing is held but a page or two, and a chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass

from service.errors import RequestError
from service.indexes.writes import Record
from service.web.export.abort import BrokenOff
from service.web.export.formats import (
    Format,
    Gzip,
    Plain,
    Rows,
    Spool,
    csv_header,
    csv_rows,
    ndjson,
)

logger = logging.getLogger(__name__)

SMALLEST = 16 * 1024
LARGEST = 64 * 1024

Pages = AsyncGenerator[Sequence[Record]]
Chunks = AsyncGenerator[bytes]


@dataclass(frozen=True, slots=True)
class Shape:
    """How records are to be written."""

    format: Format
    fields: Sequence[str] | None
    text_field: str
    gzip: bool


async def chunks(pages: Pages, shape: Shape) -> Chunks:
    """The bytes of an export, as they become ready; whoever stops early has to close it."""
    packer = Gzip() if shape.gzip else Plain()
    held = bytearray()
    enough = 1  # so that it begins when the first page is there
    async with contextlib.aclosing(_pieces(pages, shape, packer.pack)) as pieces:
        async for piece in pieces:
            held += piece
            while len(held) > LARGEST:
                yield bytes(held[:LARGEST])
                del held[:LARGEST]
            if len(held) >= enough:
                yield bytes(held)
                held.clear()
                enough = SMALLEST
    held += packer.end()
    for start in range(0, len(held), LARGEST):
        yield bytes(held[start : start + LARGEST])


async def _pieces(pages: Pages, shape: Shape, pack: Callable[[bytes], bytes]) -> Chunks:
    async with contextlib.aclosing(pages):
        if shape.format == "ndjson":
            rows = ndjson(shape.fields)
        elif shape.fields is not None:
            yield pack(csv_header(shape.fields))
            rows = csv_rows(shape.fields, shape.text_field)
        else:
            async with contextlib.aclosing(_spooled(pages, shape.text_field, pack)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        async for page in pages:
            yield await asyncio.to_thread(_packed, page, rows, pack)


async def _spooled(pages: Pages, text_field: str, pack: Callable[[bytes], bytes]) -> Chunks:
    """Its columns have to be known before its first row is written."""
    spool = await asyncio.to_thread(Spool, text_field)
    try:
        async for page in pages:
            await asyncio.to_thread(spool.add, page)
        columns = spool.columns
        yield pack(csv_header(columns))
        rows, again = csv_rows(columns, text_field), spool.pages()
        while (piece := await asyncio.to_thread(_next_packed, again, rows, pack)) is not None:
            yield piece
    finally:
        spool.close()


def _packed(page: Sequence[Record], rows: Rows, pack: Callable[[bytes], bytes]) -> bytes:
    return pack(rows(page))


def _next_packed(
    pages: Iterator[Sequence[Record]], rows: Rows, pack: Callable[[bytes], bytes]
) -> bytes | None:
    page = next(pages, None)
    return None if page is None else pack(rows(page))


async def begun(body: Chunks) -> Begun:
    """A body that has its first chunk: what goes wrong before that is an error like any other."""
    return Begun(await anext(body, b""), body)


class Begun:
    """The body of a response. What goes wrong in its midst is logged, and breaks it off."""

    def __init__(self, first: bytes, rest: Chunks) -> None:
        self._first: bytes | None = first
        self._rest = rest

    def __aiter__(self) -> Begun:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            return await anext(self._rest)
        except StopAsyncIteration:
            raise
        except RequestError as exc:
            logger.error("an export broke off: %s (%s)", exc.detail, exc.code)  # noqa: TRY400
            raise BrokenOff from exc
        except Exception as exc:
            logger.exception("an export broke off in a way that nobody foresaw")
            raise BrokenOff from exc

    async def aclose(self) -> None:
        await self._rest.aclose()
