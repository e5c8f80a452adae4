"""Who may come in: with keys, whoever has one; without, anybody may search, and nobody may write.

Knows nothing of Quart: what has to be known of a request is handed in as text.

One exception makes a laptop convenient: without keys, a service which listens on loopback takes
writes from the same machine. A web page which is open there could send some too, so what a browser
adds to a request has to fit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from service.access.keys import ApiKeys, key_fingerprint
from service.errors import KeyMissing, KeyRejected, OriginRefused, WritesClosed

CLOSED = (
    "This service takes writes only from those who have a key: "
    "whoever runs it has to set SERVICE_API_KEYS"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says of where it comes from."""

    address: str | None
    host: str
    origin: str | None
    scheme: str
    forwarded: bool
    """Whether it says that it came through a proxy."""

    @property
    def own(self) -> str:
        """The origin of our own pages, as it sees them."""
        return f"{self.scheme}://{self.host}"


class AccessPolicy:
    """`listens_on` is the address that the service is bound to, as far as it knows.

    `origins` are the web pages, beside our own, that may open WebSockets.
    """

    def __init__(
        self,
        keys: Sequence[str],
        listens_on: str,
        proxies: int,
        origins: Collection[str] = (),
    ) -> None:
        self._keys = ApiKeys(keys)
        self._origins = frozenset(origins)
        self._at_home = is_loopback(listens_on) and not proxies

    @property
    def has_lock(self) -> bool:
        """Whether a key is needed."""
        return bool(self._keys)

    def check(self, presented: Sequence[str]) -> str:
        """Whether one of the presented keys opens; returns whose it is, "" without keys."""
        if not self._keys:
            return ""
        if not presented:
            raise KeyMissing("Send your key as `Authorization: Bearer …` or as `Api-Key: …`")
        for key in presented:
            if self._keys.accept(key):
                return key_fingerprint(key)
        raise KeyRejected("This key is not one that the service knows")

    def check_page(self, caller: Caller) -> None:
        """Whether a WebSocket may be opened: a browser lets any page try, and read the answers."""
        if caller.origin not in {None, caller.own, *self._origins}:
            raise OriginRefused("This web page may not open WebSockets here; see ALLOWED_ORIGINS")
        if self._at_home and not self._keys and not is_loopback(_name_of(caller.host)):
            raise OriginRefused(
                "Without keys, WebSockets are for this machine alone: "
                "ask for 127.0.0.1 or localhost"
            )

    def check_write(self, caller: Caller) -> None:
        """Whether a write may pass that has passed `check`."""
        if self._keys:
            return
        if not self._at_home or not is_loopback(caller.address or "") or caller.forwarded:
            raise WritesClosed(CLOSED)
        if not is_loopback(_name_of(caller.host)):
            raise OriginRefused(
                "Without keys, writes are for this machine alone: ask for 127.0.0.1 or localhost"
            )
        if caller.origin not in {None, caller.own}:
            raise OriginRefused("Without keys, no other web page may write here")


def is_loopback(host: str) -> bool:
    """Whether it is an address of this machine alone, or its name."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _name_of(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
