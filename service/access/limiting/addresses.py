"""Which client addresses count as one caller."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

MEMOIZED_ADDRESSES = 4_096
MAX_ADDRESS_LENGTH = 64
IPV6_PREFIX_BITS = 64  # what one customer of a provider has at least
WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
UNKNOWN = "unknown"


@lru_cache(MEMOIZED_ADDRESSES)
def caller_of_address(address: str | None) -> str:
    """The IPv4 address, or the /64 network of the IPv6 address.

    Some proxies send an address with its port. What is no address at all is one caller together.
    """
    parsed = _parse(address or "")
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    network = int(parsed) >> (128 - IPV6_PREFIX_BITS)
    return f"{IPv6Address(network << (128 - IPV6_PREFIX_BITS))}/{IPV6_PREFIX_BITS}"


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    if len(address) > MAX_ADDRESS_LENGTH:
        return None
    if match := WITH_PORT.fullmatch(address):
        address = match[1] or match[2]
    try:
        return ip_address(address)
    except ValueError:
        return None
