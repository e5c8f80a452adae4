"""The body of an export, made in threads from pages of records.

At most two pages and one chunk are in memory at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass

from service.errors import RequestError
from service.indexes.records import Record
from service.web.export.formats import (
    Encoder,
    Format,
    Formulas,
    RecordSpool,
    csv_encoder,
    csv_header,
    ndjson_encoder,
)
from service.web.http_connection import ResponseAborted

logger = logging.getLogger(__name__)

GZIP_WBITS = 31  # the largest window, in the gzip format
GZIP_LEVEL = 4
MIN_CHUNK_BYTES = 16 * 1024
MAX_CHUNK_BYTES = 64 * 1024

Pages = AsyncGenerator[Sequence[Record]]
Chunks = AsyncGenerator[bytes]
Compress = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to write records; `fields` is None for all."""

    format: Format
    fields: Sequence[str] | None
    text_field: str
    csv_formulas: Formulas
    gzip: bool


async def export_chunks(pages: Pages, options: ExportOptions) -> Chunks:
    """Yield the file in chunks of about the same size; close it when stopping early.

    The first chunk may be small, so that the response starts with the first page.
    """
    gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WBITS) if options.gzip else None
    compress: Compress = gzip.compress if gzip else bytes
    buffer = bytearray()
    min_bytes = 1
    async with contextlib.aclosing(_pieces(pages, options, compress)) as pieces:
        async for piece in pieces:
            buffer += piece
            while len(buffer) > MAX_CHUNK_BYTES:
                yield bytes(buffer[:MAX_CHUNK_BYTES])
                del buffer[:MAX_CHUNK_BYTES]
            if len(buffer) >= min_bytes:
                yield bytes(buffer)
                buffer.clear()
                min_bytes = MIN_CHUNK_BYTES
    if gzip:
        buffer += gzip.flush()
    for start in range(0, len(buffer), MAX_CHUNK_BYTES):
        yield bytes(buffer[start : start + MAX_CHUNK_BYTES])


async def _pieces(pages: Pages, options: ExportOptions, compress: Compress) -> Chunks:
    async with contextlib.aclosing(pages):
        if options.format == "ndjson":
            encode = ndjson_encoder(options.fields)
        elif options.fields is not None:
            yield compress(csv_header(options.fields, options.csv_formulas))
            encode = csv_encoder(options.fields, options.text_field, options.csv_formulas)
        else:
            spooled = _spooled_csv(pages, options, compress)
            async with contextlib.aclosing(spooled) as pieces:
                async for piece in pieces:
                    yield piece
            return
        async for page in pages:
            yield await asyncio.to_thread(_encode_page, page, encode, compress)


async def _spooled_csv(pages: Pages, options: ExportOptions, compress: Compress) -> Chunks:
    """Store all records on disk first, to find the columns for the header."""
    text_field, formulas = options.text_field, options.csv_formulas
    spool = await asyncio.to_thread(RecordSpool, text_field)
    try:
        async for page in pages:
            await asyncio.to_thread(spool.add, page)
        columns = spool.columns
        yield compress(csv_header(columns, formulas))
        encode, stored = csv_encoder(columns, text_field, formulas), spool.pages()
        while (
            piece := await asyncio.to_thread(_encode_next, stored, encode, compress)
        ) is not None:
            yield piece
    finally:
        spool.close()


def _encode_page(page: Sequence[Record], encode: Encoder, compress: Compress) -> bytes:
    return compress(encode(page))


def _encode_next(
    pages: Iterator[Sequence[Record]], encode: Encoder, compress: Compress
) -> bytes | None:
    page = next(pages, None)
    return None if page is None else compress(encode(page))


class ExportBody:
    """A response body whose first chunk is there. A later error is logged, and aborts it."""

    def __init__(self, first: bytes, rest: Chunks) -> None:
        self._first: bytes | None = first
        self._rest = rest

    @classmethod
    async def start(cls, chunks: Chunks) -> ExportBody:
        return cls(await anext(chunks, b""), chunks)

    def __aiter__(self) -> ExportBody:
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
            logger.error("export aborted: %s (%s)", exc.detail, exc.code)  # noqa: TRY400
            raise ResponseAborted from exc
        except Exception as exc:
            logger.exception("export aborted by an unexpected exception")
            raise ResponseAborted from exc

    async def aclose(self) -> None:
        await self._rest.aclose()
