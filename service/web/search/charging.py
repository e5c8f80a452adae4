"""What a search costs its caller, which depends on where its answer comes from."""

from __future__ import annotations

from service.access.limiting.account import Account
from service.access.limits import Usage
from service.caching.answer_cache import Answer
from service.retrieval.query import StageEvent
from service.retrieval.receipt import Receipt
from service.web.search.rendering import SearchAnswer

CACHED_COST = 0.2  # of a request
CACHED = Usage(requests=CACHED_COST - 1)
"""What is given back for an answer that took no search of its own."""


def give_back_if_cached(account: Account, item: StageEvent | SearchAnswer) -> None:
    """Give back a part of the request if this is an answer of the cache, or a shared one."""
    if isinstance(item, Answer) and item.source in {"hit", "shared"}:
        account.add(CACHED)


def count_read_units(account: Account, receipt: Receipt) -> None:
    """Count the read units of a search, also of one that was cancelled on its way."""
    if account.has_quota:
        units = sum(stage.usage.get("read_units", 0) for stage in receipt.stages)
        account.add(Usage(read_units=units))
