"""Access rules: which caller may search, write, or open a WebSocket.

With API keys, every caller needs one. Without, everybody may search and nobody may write, with one
exception for development: a service that listens on loopback accepts writes from the same machine.
A web page that is open there could send requests too, so the Host and Origin headers, which a
browser sets itself, have to be those of the service, for reads as for writes. This prevents
cross-site request forgery and DNS rebinding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from service.access.credentials import (
    EXPIRED,
    NOT_VALID,
    Clock,
    Credential,
    ServiceKeys,
    wall_clock,
)
from service.access.grant import UNRESTRICTED, Grant
from service.access.key_format import PREFIX
from service.access.key_ring import KeyRing
from service.access.tokens import TokenVerifier, looks_like_token
from service.errors import KeyMissing, KeyRejected, OriginRefused, WritesClosed

ANY_ORIGIN = "*"

KEY_REQUIRED = "An API key is required; send it as `Authorization: Bearer …` or as `Api-Key: …`"


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
        ring: KeyRing | None = None,
        now: Clock = wall_clock,
    ) -> None:
        self._service_keys = ServiceKeys(keys)
        self._ring = ring or KeyRing(is_empty=True)
        self._tokens = TokenVerifier(self._find, now)
        self._now = now
        self._origins = frozenset(origins)
        self._hosts = frozenset(hosts)
        self._is_local = is_loopback(listens_on) and not proxies

    @property
    def requires_key(self) -> bool:
        """It may change while the service runs: when the first key is created."""
        return bool(self._service_keys) or self._ring.has_keys

    def authenticate(self, sent_keys: Sequence[str]) -> Grant:
        """Return the grant of the first valid key or token, or all rights if no key is required."""
        if not self.requires_key:
            return UNRESTRICTED
        if not self._service_keys:
            self._ring.require_known()
        if not sent_keys:
            raise KeyMissing(KEY_REQUIRED)
        rejected = KeyRejected(NOT_VALID)
        for key in sent_keys:
            try:
                return self._authenticate(key)
            except KeyRejected as error:
                rejected = error
        raise rejected

    def check_still_valid(self, grant: Grant) -> None:
        """Raise an error if the caller of a long request or of a WebSocket has lost its right."""
        if not grant.key_id:
            if self.requires_key:
                raise KeyMissing(KEY_REQUIRED)
            return
        if grant.expires_at is not None and grant.expires_at <= self._now():
            raise KeyRejected(EXPIRED)
        if not self._service_keys.find(grant.key_id):
            self._ring.check(grant.key_id, grant.credential)

    def _authenticate(self, key: str) -> Grant:
        grant = self._service_keys.authenticate(key)
        if grant is not None:
            return grant
        if key.startswith(PREFIX):
            return self._ring.authenticate(key)
        if looks_like_token(key):
            return self._tokens.authenticate(key)
        raise KeyRejected(NOT_VALID)

    def _find(self, id: str) -> Sequence[Credential]:
        return self._service_keys.find(id) or self._ring.find(id)

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
        return self._is_local and not self.requires_key

    def _check_host(self, caller: Caller) -> None:
        if not self.checks_reads:
            return
        name = host_name(caller.host)
        if name.lower() not in self._hosts and not is_loopback(name):
            raise OriginRefused(
                "This service does not accept the host name of the request; connect to 127.0.0.1 "
                "or localhost, or add the name to ALLOWED_HOSTS"
            )

    def authorize_write(self, caller: Caller) -> None:
        """Raise an error if an authenticated caller may not write."""
        if self.requires_key:
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


def host_name(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
