"""The bytes of an upload, counted on the quota of its caller as they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator

from service.access.limiting.account import Account
from service.access.limits import Usage

STEP_BYTES = 2**20  # so a large upload costs few round trips to Redis


async def counted_bytes(chunks: AsyncIterator[bytes], account: Account) -> AsyncIterator[bytes]:
    """Yield the chunks; raises `QuotaExceeded` where the quota does not suffice."""
    uncounted = 0
    async for chunk in chunks:
        uncounted += len(chunk)
        if uncounted >= STEP_BYTES:
            await account.take(Usage(bytes=uncounted))
            uncounted = 0
        yield chunk
    if uncounted:
        await account.take(Usage(bytes=uncounted))
