"""Tokens that lead to the next page: opaque to the caller, and checked when they come back."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any


def encode_token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def decode_token(token: str | None) -> str:
    """What the page that gave it out ended with; nothing for the first page."""
    try:
        return base64.b64decode(token or "", altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        raise ValueError("the pagination token is not one that this index has given out") from None


def pagination(last: str | None) -> dict[str, Any]:
    """What an answer says of the next page; nothing on the last one."""
    return {} if last is None else {"pagination": {"next": encode_token(last)}}


def page_of_ids(ids: Sequence[str], limit: int) -> tuple[Sequence[str], str | None]:
    """`ids` is one longer than the page if there is another page."""
    return ids[:limit], ids[limit - 1] if len(ids) > limit else None
