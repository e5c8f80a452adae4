"""The one seam at which the client's exceptions become ours.

Knows nothing of what was asked. What Pinecone wrote in its answer never gets into the
sentence that the caller reads.
"""

from __future__ import annotations

import httpx
from pinecone import errors as client

from service import errors
from service.indexes.port import OurSentence

A_DAY_S = 86_400.0

# What escapes the client beside its own tree: httpx errors that are no transport errors (a body
# that doesn't decompress), and whatever its lenient reading of a malformed answer trips over.
STRAY = (httpx.HTTPError, LookupError, TypeError, ValueError, AttributeError, RecursionError)

_BY_STATUS: dict[type[client.ApiError], tuple[type[errors.RequestError], str]] = {
    client.UnauthorizedError: (
        errors.UpstreamKeyRejected,
        "Pinecone rejected the key that this service uses for {name}; "
        "whoever runs the service must check PINECONE_API_KEY",
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
        "Pinecone does not know what this service asked {name} for: "
        "the index, the namespace or the model is not there",
    ),
    client.ConflictError: (
        errors.UpstreamConflict,
        "Pinecone says that the request conflicts with the state of {name}",
    ),
    client.FailedPreconditionError: (
        errors.UpstreamPrecondition,
        "{name} is not in a state in which Pinecone can serve this request",
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

# Of an index in this process, whose sentences say more.
_BY_OUR_STATUS: dict[int, type[errors.RequestError]] = {
    400: errors.UpstreamRefused,
    503: errors.UpstreamUnavailable,
    507: errors.StorageFull,
}


def translate(exc: Exception, name: str) -> errors.RequestError:
    """The error that a caller gets for `exc`, which came out of a call to `name`."""
    if isinstance(exc, client.ApiError):
        return _api_error(exc, name)
    if isinstance(exc, client.PineconeTimeoutError):
        return errors.UpstreamTimeout(f"{name} did not answer in time")
    if isinstance(exc, client.PineconeConnectionError):
        return errors.UpstreamUnreachable(f"No connection to {name} could be made or kept")
    if isinstance(exc, client.PineconeValueError | client.PineconeTypeError):
        return errors.UpstreamRefused(
            f"This request can't be put to {name}: check top_k, filter and fields"
        )
    return errors.UpstreamGarbled(f"The answer of {name} could not be read")


def _api_error(exc: client.ApiError, name: str) -> errors.RequestError:
    if isinstance(exc, client.RateLimitError):
        wait = min(max(exc.retry_after or 1.0, 1.0), A_DAY_S)
        return errors.UpstreamRateLimited(
            f"Pinecone is limiting the rate of calls to {name}; try again in {wait:.0f} s",
            retry_after=wait,
        )
    if isinstance(exc.__cause__, OurSentence) and exc.status_code in _BY_OUR_STATUS:
        return _BY_OUR_STATUS[exc.status_code](f"{name}: {exc.__cause__}")
    for kind, (ours, sentence) in _BY_STATUS.items():
        if isinstance(exc, kind):
            return ours(sentence.format(name=name))
    if exc.status_code in {400, 422}:
        return errors.UpstreamRefused(
            f"{name} can't answer this request as it stands: check that filter and fields "
            "name fields which the index has, in ways which it allows"
        )
    return errors.UpstreamError(f"Pinecone answered {name} with status {exc.status_code}")
