"""What a search costs its caller, once it is known where its answer came from."""

from __future__ import annotations

from service.access.limiting.account import Account
from service.access.limits import Usage
from service.caching.answer_cache import Answer
from service.retrieval.query import StageEvent
from service.web.search.rendering import SearchAnswer

CACHED_COST = 0.2  # of a request
CACHED = Usage(requests=CACHED_COST - 1)
"""What is given back for an answer that took no search of its own."""


def charge(account: Account, item: StageEvent | SearchAnswer) -> None:
    """Give back a part of the request if its answer was cached, or count its read units."""
    if not isinstance(item, Answer):
        return
    if item.source in {"hit", "shared"}:
        account.add(CACHED)
    elif account.has_quota and item.receipt is not None:
        units = sum(stage.usage.get("read_units", 0) for stage in item.receipt.stages)
        account.add(Usage(read_units=units))
