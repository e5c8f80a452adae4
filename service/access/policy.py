"""Access rules: which caller may search, write, or open a WebSocket.

With API keys, every caller needs one. Without, everybody may search and nobody may write, with one
exception for development: a service that listens on loopback accepts writes from the same machine.
A web page that is open there could send requests too, so the Host and Origin headers, which a
browser sets itself, have to be those of the service, for reads as for writes. This prevents
cross-site request forgery and DNS rebinding.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address

from service.access.grant import UNRESTRICTED, Grant
from service.errors import KeyMissing, KeyRejected, OriginRefused, WritesClosed

FINGERPRINT_LENGTH = 16
ANY_ORIGIN = "*"


class ApiKeys:
    """The valid keys, kept as digests; false if there are none."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(map(_digest, keys))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, sent: str) -> bool:
        """Compare `sent` with every key, so that the time does not depend on which one matches."""
        digest = _digest(sent)
        return sum(hmac.compare_digest(known, digest) for known in self._digests) > 0


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request comes from. `is_forwarded` is true if its headers name a proxy."""

    address: str | None
    host: str
    origin: str | None
    scheme: str
    is_forwarded: bool

    @property
    def same_origin(self) -> str:
        """The origin that a page of this service would have."""
        return f"{self.scheme}://{self.host}"


class AccessPolicy:
    """The access rules of a service that is bound to the address `listens_on`.

    `proxies` is the number of trusted proxies in front of it. `origins` are those of the foreign
    web pages that may open WebSockets, and read without keys; `*` is any origin, but not where only
    the address protects the service. `hosts` are the names under which the service is reached,
    besides those of loopback; without any, every name is accepted, unless the service has no keys
    and listens on loopback.
    """

    def __init__(
        self,
        keys: Sequence[str],
        listens_on: str,
        proxies: int,
        origins: Collection[str] = (),
        hosts: Collection[str] = (),
    ) -> None:
        self._keys = ApiKeys(keys)
        self._origins = frozenset(origins)
        self._hosts = frozenset(hosts)
        self._is_local = is_loopback(listens_on) and not proxies

    @property
    def requires_key(self) -> bool:
        return bool(self._keys)

    def authenticate(self, sent_keys: Sequence[str]) -> Grant:
        """Return the grant of the first valid key, or all rights if no key is required."""
        if not self._keys:
            return UNRESTRICTED
        if not sent_keys:
            raise KeyMissing(
                "An API key is required; send it as `Authorization: Bearer …` or as `Api-Key: …`"
            )
        for key in sent_keys:
            if self._keys.accept(key):
                fingerprint = _digest(key).hex()[:FINGERPRINT_LENGTH]
                return Grant(tenant=fingerprint, key_id=fingerprint)
        raise KeyRejected("The API key is not valid for this service")

    def check_websocket_origin(self, caller: Caller) -> None:
        """Raise `OriginRefused` for a web page that may not open a WebSocket.

        The same-origin policy of browsers does not cover WebSockets, so the server has to check.
        """
        allows_any = ANY_ORIGIN in self._origins and not self._is_open_to_pages
        if not allows_any and self._is_foreign(caller):
            raise OriginRefused(
                "Web pages of this origin may not open WebSockets; ALLOWED_ORIGINS lists those "
                "that may"
            )
        self._check_host(caller)

    @property
    def checks_reads(self) -> bool:
        """Whether `authorize_read` may refuse a caller."""
        return bool(self._hosts) or self._is_open_to_pages

    def authorize_read(self, caller: Caller) -> None:
        """Raise `OriginRefused` if the request may be that of a foreign web page.

        A page can make its own name resolve to this machine (DNS rebinding). Its browser then takes
        the service for the page's own server, and lets the page read the responses.
        """
        self._check_host(caller)
        if self._is_open_to_pages and self._is_foreign(caller):
            raise OriginRefused(
                "Without API keys, web pages of other origins may not read, unless ALLOWED_ORIGINS "
                "names theirs; `*` is not enough"
            )

    def _is_foreign(self, caller: Caller) -> bool:
        """Whether the request is that of a web page of an origin that is not named."""
        return caller.origin not in {None, caller.same_origin, *self._origins}

    @property
    def _is_open_to_pages(self) -> bool:
        """Whether only its address protects the service from the web pages of this machine."""
        return self._is_local and not self._keys

    def _check_host(self, caller: Caller) -> None:
        if not self.checks_reads:
            return
        name = _host_name(caller.host)
        if name.lower() not in self._hosts and not is_loopback(name):
            raise OriginRefused(
                "This service does not accept the host name of the request; connect to 127.0.0.1 "
                "or localhost, or add the name to ALLOWED_HOSTS"
            )

    def authorize_write(self, caller: Caller) -> None:
        """Raise an error if an authenticated caller may not write."""
        if self._keys:
            return
        if not self._is_local or not is_loopback(caller.address or "") or caller.is_forwarded:
            raise WritesClosed(
                "Writes require an API key, and this service has none; set SERVICE_API_KEYS"
            )
        self._check_host(caller)
        if caller.origin not in {None, caller.same_origin}:
            raise OriginRefused("Without API keys, web pages of other origins may not write")


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address or "localhost"."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _host_name(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
