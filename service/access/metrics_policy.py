"""Access rules of the metrics, which tell how much a service is used, and by which routes.

They are closed unless opened: with a key, to callers that present it; without, to the same machine;
and with a list of addresses, to these.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from service.access.key_format import digest_of
from service.access.policy import Caller, host_name, is_loopback
from service.errors import KeyMissing, KeyRejected, MetricsClosed

Network = IPv4Network | IPv6Network


class MetricsPolicy:
    """Who may read the metrics.

    Callers have to present one of `keys`, if there are any. `networks` are those of the callers; if
    there are none, every address is accepted with keys, and only loopback without. `hosts` are the
    names of the service beside those of loopback, and `proxies` the number of trusted proxies.
    """

    def __init__(
        self, keys: Sequence[str], networks: Sequence[Network], hosts: Collection[str], proxies: int
    ) -> None:
        self._keys = [digest_of(key) for key in keys]
        self._networks = networks
        self._hosts = frozenset(hosts)
        self._proxies = proxies

    def authorize(self, caller: Caller, sent_keys: Sequence[str]) -> None:
        """Raise `MetricsClosed`, `KeyMissing` or `KeyRejected` if the caller may not read them."""
        if not self._accepts_address(caller):
            raise MetricsClosed(
                "The metrics are closed to this address; METRICS_ALLOWED_IPS lists those that may "
                "read them, or METRICS_KEY has a key"
            )
        if not self._keys:
            return
        if not sent_keys:
            raise KeyMissing("The metrics need METRICS_KEY; send it as `Authorization: Bearer …`")
        if not any(self._accepts_key(key) for key in sent_keys):
            raise KeyRejected("The key is not METRICS_KEY")

    def _accepts_address(self, caller: Caller) -> bool:
        """The address protects nothing from a web page that a browser there shows."""
        if self._keys and not self._networks:
            return True
        if caller.origin not in {None, caller.same_origin}:
            return False
        return self._is_local(caller) or self._is_listed(caller)

    def _accepts_key(self, sent: str) -> bool:
        """Compare with every key, so that the time does not depend on which one matches."""
        digest = digest_of(sent)
        return sum(hmac.compare_digest(key, digest) for key in self._keys) > 0

    def _is_local(self, caller: Caller) -> bool:
        """Whether the caller is on this machine.

        A web page can make its own name resolve to it; the Host header then has that name.
        """
        name = host_name(caller.host)
        return (
            is_loopback(caller.address or "")
            and not caller.is_forwarded
            and (is_loopback(name) or name.lower() in self._hosts)
        )

    def _is_listed(self, caller: Caller) -> bool:
        """Whether the caller's address is listed; that of an unknown proxy says nothing."""
        if caller.is_forwarded and not self._proxies:
            return False
        try:
            address = ip_address(caller.address or "")
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
