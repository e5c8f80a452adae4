"""Which searches are the same: a key over everything that makes a difference to an answer, but for
who asks.
"""

from __future__ import annotations

from hashlib import blake2b

import orjson

from service.retrieval.query import Mode, Query
from service.settings import Settings
from service.version import VERSION

KEY_BYTES = 16
OF_ANSWERS = ("pinecone_", "embedder", "reranker", "text_language")  # how such settings begin


class CacheKeys:
    """The keys of one service: with other settings, or of another version, they are others."""

    def __init__(self, settings: Settings) -> None:
        told = {
            name: str(getattr(settings, name))  # a secret is stars here
            for name in type(settings).model_fields
            if name.startswith(OF_ANSWERS)
        }
        self._salt = blake2b(orjson.dumps([VERSION, told]), digest_size=KEY_BYTES).digest()

    def key(self, mode: Mode, query: Query, timeout_ms: int) -> str:
        """All fields of the query are in it, whichever it has."""
        asked = orjson.dumps((mode, query, timeout_ms), option=orjson.OPT_SORT_KEYS)
        return blake2b(asked, digest_size=KEY_BYTES, key=self._salt).hexdigest()
