"""Rules of HTTP/1.1 for a request head that h11 and Hypercorn leave to the server.

A server that is more lenient than the proxy in front of it, or than the next reader of the request,
can be made to see another request than they do.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

import h11

VERSIONS = {b"1.0", b"1.1"}
MAX_HOST_BYTES = 261  # a name of 255, a colon, and a port

_WEBSOCKET_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes (RFC 6455, 4.2.1)
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(/.*)", re.DOTALL | re.IGNORECASE)
_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|[\w.~!$&'()*+,;=%-]*)(?::\d*)?", re.ASCII)


def accept(request: h11.Request) -> h11.Request | None:
    """The request with its target in origin form (RFC 9112, 3.2.1), or None if it is not valid.

    The target of a request may be an absolute URL. Its host then replaces the Host header.
    """
    host, has_length, is_chunked = b"", False, False
    for name, value in header_items(request):
        if name == b"host":
            host = value
        elif name == b"content-length":
            has_length = True
        elif name == b"transfer-encoding":
            is_chunked = True
    if (
        request.http_version not in VERSIONS
        or not request.method.isupper()  # methods are case-sensitive, and ours are in upper case
        or (is_chunked and (has_length or request.http_version == b"1.0"))  # RFC 9112, 6.1
    ):
        return None
    if not request.target.startswith(b"/") and request.target != b"*":
        match = _ABSOLUTE.fullmatch(request.target)
        if match is None:
            return None
        host, target = match.groups()
        request = _with_target(request, host, target)
    return request if is_valid_host(host) else None


def header_items(request: h11.Request) -> list[tuple[bytes, bytes]]:
    """The same as `list(request.headers)`, in which h11 calls a method for each of them."""
    return [(name, value) for _, name, value in request.headers._full_items]


def has_websocket_key(request: h11.Request) -> bool:
    """Whether the request has exactly one `Sec-WebSocket-Key`, which is valid."""
    keys = [value for name, value in request.headers if name == b"sec-websocket-key"]
    return len(keys) == 1 and _WEBSOCKET_KEY.fullmatch(keys[0]) is not None


@lru_cache(maxsize=256)
def is_valid_host(host: bytes) -> bool:
    """Whether this is a host with an optional port, or empty (RFC 9110, 7.2)."""
    match = _HOST.fullmatch(host)
    if match is None or len(host) > MAX_HOST_BYTES:
        return False
    try:
        return match[1] is None or bool(IPv6Address(match[1].decode()))
    except AddressValueError:
        return False


def _with_target(request: h11.Request, host: bytes, target: bytes) -> h11.Request:
    others = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=target,
        headers=[(b"host", host), *others],
        http_version=request.http_version,
    )
