"""Maps the exceptions of the Pinecone client to our `RequestError`s.

The text of Pinecone's own error message is never part of the error that the caller reads.
"""

from __future__ import annotations

import httpx
from pinecone import errors as client

from service import errors

MAX_RETRY_AFTER_S = 86_400.0

# Exceptions outside of the client's own tree: httpx errors that are not transport errors (a body
# that fails to decompress), and those of its lenient parsing of a malformed response.
UNTYPED_ERRORS = (
    httpx.HTTPError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)

_BY_STATUS: dict[type[client.ApiError], tuple[type[errors.RequestError], str]] = {
    client.UnauthorizedError: (
        errors.UpstreamKeyRejected,
        "Pinecone rejected the key that this service uses for {name}; "
        "the operator of the service must check PINECONE_API_KEY",
    ),
    client.ForbiddenError: (
        errors.UpstreamForbidden,
        "Pinecone does not let this service use {name}: the key's roles or a quota forbid it",
    ),
    client.PaymentRequiredError: (
        errors.UpstreamPaymentRequired,
        "Pinecone refuses {name} until the account's billing is settled",
    ),
    client.NotFoundError: (
        errors.UpstreamNotFound,
        "Pinecone did not find the index, the namespace or the model that this service requested "
        "from {name}",
    ),
    client.ConflictError: (
        errors.UpstreamConflict,
        "Pinecone says that the request conflicts with the state of {name}",
    ),
    client.FailedPreconditionError: (
        errors.UpstreamPrecondition,
        "{name} is in a state in which Pinecone cannot serve this request",
    ),
    client.PayloadTooLargeError: (
        errors.UpstreamTooLarge,
        "Pinecone finds this request too large for {name}: shorten text_query or filter",
    ),
    client.ServiceError: (
        errors.UpstreamUnavailable,
        "{name} failed to answer; try again shortly",
    ),
}


def map_error(exc: Exception, name: str) -> errors.RequestError:
    """The error to raise for `exc`, which a call to `name` raised."""
    if isinstance(exc, client.ApiError):
        return _api_error(exc, name)
    if isinstance(exc, client.PineconeTimeoutError):
        return errors.UpstreamTimeout(f"{name} did not answer in time")
    if isinstance(exc, client.PineconeConnectionError):
        return errors.UpstreamUnreachable(f"No connection to {name} could be made or kept")
    if isinstance(exc, client.PineconeValueError | client.PineconeTypeError):
        return errors.UpstreamRefused(
            f"This request can't be sent to {name}: check top_k, filter and fields"
        )
    return errors.UpstreamGarbled(f"The response of {name} could not be read")


def _api_error(exc: client.ApiError, name: str) -> errors.RequestError:
    if isinstance(exc, client.RateLimitError):
        wait = min(max(exc.retry_after or 1.0, 1.0), MAX_RETRY_AFTER_S)
        return errors.UpstreamRateLimited(
            f"Pinecone is limiting the rate of calls to {name}; try again in {wait:.0f} s",
            retry_after=wait,
        )
    for kind, (ours, sentence) in _BY_STATUS.items():
        if isinstance(exc, kind):
            return ours(sentence.format(name=name))
    if exc.status_code in {400, 422}:
        return errors.UpstreamRefused(
            f"{name} rejected this request: check that filter and fields name fields of the index, "
            "and use operators that it supports"
        )
    return errors.UpstreamError(f"Pinecone answered {name} with status {exc.status_code}")
