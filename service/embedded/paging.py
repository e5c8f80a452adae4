"""Pagination tokens. A token holds the last id of its page, and is opaque to the caller."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any


def encode_token(last_id: str) -> str:
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def decode_token(token: str | None) -> str:
    """The id after which the page begins; empty for the first page."""
    try:
        return base64.b64decode(token or "", altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        raise ValueError("the pagination token is not one that this index has issued") from None


def pagination(last_id: str | None) -> dict[str, Any]:
    """The `pagination` part of a response; empty on the last page."""
    return {} if last_id is None else {"pagination": {"next": encode_token(last_id)}}


def cut_page(ids: Sequence[str], limit: int) -> tuple[Sequence[str], str | None]:
    """A page, and its last id if another page follows: then there are `limit + 1` ids."""
    return ids[:limit], ids[limit - 1] if len(ids) > limit else None
