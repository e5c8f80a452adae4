"""`Credential`: a secret that a caller can prove, and what it grants."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from service.access.grant import Grant
from service.access.key_format import digest_of
from service.errors import KeyRejected

Clock = Callable[[], float]

FINGERPRINT_LENGTH = 16
HMAC_BLOCK = 64  # bytes: SHA-256 replaces a longer key of an HMAC by its digest
MIN_TOKEN_KEY = 32  # bytes: RFC 7518, section 3.2
NOT_VALID = "The API key is not valid for this service"
EXPIRED = "The API key has expired"


@dataclass(frozen=True, slots=True)
class Credential:
    """`token_secret` verifies tokens that are signed with the key; None if it may sign none."""

    digest: bytes = field(repr=False)
    grant: Grant
    token_secret: bytes | None = field(repr=False)

    def check_expiry(self, now: float) -> None:
        if self.grant.expires_at is not None and self.grant.expires_at <= now:
            raise KeyRejected(EXPIRED)


def matching(credentials: Iterable[Credential], digest: bytes) -> Credential | None:
    """Compare with all of them, so that the time does not depend on which one matches."""
    found = [each for each in credentials if hmac.compare_digest(each.digest, digest)]
    return found[0] if found else None


class ServiceKeys:
    """The keys of SERVICE_API_KEYS, which have all rights; false if there are none."""

    def __init__(self, keys: Iterable[str]) -> None:
        credentials = list(map(_service_credential, keys))
        self._by_id = {each.grant.key_id: each for each in credentials}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def find(self, id: str) -> Sequence[Credential]:
        """The key with this fingerprint, if there is one."""
        found = self._by_id.get(id)
        return [found] if found else []

    def authenticate(self, sent: str) -> Grant | None:
        found = matching(self._by_id.values(), digest_of(sent))
        return None if found is None else found.grant


def _service_credential(key: str) -> Credential:
    digest = digest_of(key)
    raw = key.encode("utf-8", "surrogatepass")
    fingerprint = digest.hex()[:FINGERPRINT_LENGTH]
    signing = digest if len(raw) > HMAC_BLOCK else raw
    grant = Grant(tenant=fingerprint, key_id=fingerprint, credential=digest)
    return Credential(digest, grant, signing if len(raw) >= MIN_TOKEN_KEY else None)


wall_clock: Clock = time.time
