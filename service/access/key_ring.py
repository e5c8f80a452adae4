"""`KeyRing`: the managed keys as this process last read them from the key store.

Authentication is a look-up in memory. Something else reads the store, and calls `replace` after a
change and `confirm` when there was none. If neither has been called for `MAX_AGE_S`, the store
can't be reached, and managed keys are refused: one that was revoked meanwhile must not go on
working.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from service.access.credentials import (
    NOT_VALID,
    Clock,
    Credential,
    matching,
    wall_clock,
)
from service.access.grant import Grant
from service.access.key_format import digest_of, id_of
from service.errors import KeyRejected, KeysUnavailable

MAX_AGE_S = 30.0
RETRY_AFTER_S = 5.0
UNAVAILABLE = "The API keys can't be checked just now; try again shortly"
INCOMPLETE = "The API key is not one of this service; it may not have been copied as a whole"


class KeyRing:
    """Unknown at first, unless `is_empty`: a service that may have keys is closed until then.

    `clock` measures the age, and `now` the expiry of keys.
    """

    def __init__(
        self, *, is_empty: bool = False, clock: Clock = time.monotonic, now: Clock = wall_clock
    ) -> None:
        self._clock = clock
        self._now = now
        self._has_keys = not is_empty
        self._is_known = is_empty
        self._confirmed_at = clock()
        self._credentials: Mapping[str, Sequence[Credential]] = {}

    @property
    def is_known(self) -> bool:
        """Whether the store has been read."""
        return self._is_known

    @property
    def has_keys(self) -> bool:
        """Whether the store has ever had a key. True while that is unknown."""
        return self._has_keys

    def replace(self, credentials: Mapping[str, Sequence[Credential]], *, has_keys: bool) -> None:
        """Take over what the store has: for each id the credentials that are valid."""
        self._credentials = credentials
        self._has_keys = has_keys
        self._is_known = True
        self.confirm()

    def confirm(self) -> None:
        """The store has not changed."""
        self._confirmed_at = self._clock()

    def require_known(self) -> None:
        if not self._is_known:
            raise KeysUnavailable(UNAVAILABLE, retry_after=1)

    def find(self, id: str) -> Sequence[Credential]:
        """The credentials of a key; raises `KeysUnavailable` if they may be out of date."""
        self.require_known()
        if self._has_keys and self._clock() - self._confirmed_at > MAX_AGE_S:
            raise KeysUnavailable(UNAVAILABLE, retry_after=RETRY_AFTER_S)
        return self._credentials.get(id, ())

    def authenticate(self, key: str) -> Grant:
        """The grant of a managed key, or `KeyRejected`."""
        id = id_of(key)
        if id is None:
            raise KeyRejected(INCOMPLETE)
        return self.check(id, digest_of(key))

    def check(self, id: str, digest: bytes) -> Grant:
        """The grant of the credential with this digest, or `KeyRejected`."""
        found = matching(self.find(id), digest)
        if found is None:
            raise KeyRejected(NOT_VALID)
        found.check_expiry(self._now())
        return found.grant
