"""Writes that count on the daily quota of a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from service.access.limiting.account import Account
from service.access.limits import Usage
from service.errors import DeadlineExceeded, RequestError
from service.ingest.target import Target, WriteResult


async def write_counted(
    account: Account, usage: Usage, write: Callable[[], Awaitable[WriteResult]]
) -> WriteResult:
    """Count the usage, write, and give back the records that were not written.

    Raises `QuotaExceeded`, and writes nothing, if not all of the usage fits in the quota.
    """
    await account.take(usage)
    try:
        result = await write()
    except DeadlineExceeded:
        raise  # some records may be written
    except RequestError:
        account.add(Usage(records=-usage.records))
        raise
    account.add(Usage(records=result.written - usage.records))
    return result


class CountedTarget:
    """A target that counts each batch."""

    def __init__(self, target: Target, account: Account) -> None:
        self._target = target
        self._account = account

    @property
    def text_field(self) -> str:
        return self._target.text_field

    @property
    def batch_size(self) -> int:
        return self._target.batch_size

    async def upsert(self, namespace: str, records: Sequence[Mapping[str, Any]]) -> WriteResult:
        return await write_counted(
            self._account,
            Usage(records=len(records)),
            lambda: self._target.upsert(namespace, records),
        )
