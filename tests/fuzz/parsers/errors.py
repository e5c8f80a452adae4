"""The errors that a parser may raise: those that the service answers with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import orjson

from service.errors import RequestError
from service.web.errors import error_body


@contextlib.contextmanager
def answered_errors() -> Iterator[None]:
    """Accept an error of a request, whose response must be valid JSON."""
    try:
        yield
    except RequestError as error:
        if not 400 <= error.status < 500:
            raise
        orjson.dumps(error_body(error, "fuzz"))
