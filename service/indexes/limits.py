"""Pinecone's limits. Every backend enforces them, so that records can move between backends.

See https://docs.pinecone.io/reference/api/database-limits. The limits of filters are in `filters`.
"""

from __future__ import annotations

MAX_ID_LENGTH = 512  # of a namespace and of an id prefix, too
MAX_FIELDS_BYTES = 40_960  # of a record's fields as JSON
MAX_FIELDS = 1_000  # of a record; ours, as a field of a namespace takes 0.6 kB of memory
MAX_NAMESPACE_FIELDS = 10_000  # different ones, of all its records; of the embedded engine
MAX_INDEX_FIELDS = 250_000  # of all namespaces together
MAX_SPARSE_VALUES = 2_048
MAX_RETURNED_FIELDS = 100
MAX_CLAUSES = 100  # in score_by

MAX_TOP_K = 10_000
MAX_PAGE = 100  # ids
MAX_IDS = 1_000  # in a fetch or a delete
MAX_DOCUMENTS = 1_000  # in an upsert
MAX_EMBEDDED_RECORDS = 96  # in an upsert to an index that embeds a field of them
MAX_UPSERT_BYTES = 2_000_000  # "2 MB", of which the envelope needs a little


def is_valid_id(value: object) -> bool:
    """Whether `value` is a string of 1 to 512 ASCII characters without NUL."""
    return isinstance(value, str) and bool(value) and is_valid_name(value)


def is_valid_name(value: str) -> bool:
    """Whether `value`, which may be empty, fits an id, a prefix or a namespace."""
    return len(value) <= MAX_ID_LENGTH and value.isascii() and "\0" not in value
