"""The records and bytes of an export, counted on the quota of its caller as they are sent.

An export that has begun is finished, even if the quota does not suffice for it.
"""

from __future__ import annotations

from contextlib import aclosing

from service.access.limiting.account import Account
from service.access.limits import Usage
from service.web.export.stream import Chunks, Pages


async def counted_pages(pages: Pages, account: Account) -> Pages:
    async with aclosing(pages):
        async for page in pages:
            account.add(Usage(records=len(page)))
            yield page


async def counted_chunks(chunks: Chunks, account: Account) -> Chunks:
    async with aclosing(chunks):
        async for chunk in chunks:
            account.add(Usage(bytes=len(chunk)))
            yield chunk
