"""Types of settings that need more than a range: keys, hosts, URLs, namespaces, origins.

A blank value counts as unset. No message repeats a value, since most of these may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, SecretStr

MIN_KEY_LENGTH = 16

HOST = re.compile(r"(https?://)?([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?(/[^\s?#]*)?")
ORIGIN = re.compile(r"https?://([\w.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
HOST_NAME = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:]+\]")
NAMESPACE = re.compile(r"[A-Za-z0-9_.:@#=+~-]{1,512}")
HEADER_VALUE = re.compile(r"[\x21-\x7e]+")

Check = Callable[[str], str]


def _text(check: Check) -> AfterValidator:
    def validate(value: str | None) -> str | None:
        text = (value or "").strip()
        return check(text) if text else None

    return AfterValidator(validate)


def _secret(check: Check) -> AfterValidator:
    def validate(value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value().strip() if value else ""
        return SecretStr(check(text)) if text else None

    return AfterValidator(validate)


def check_namespace(value: str) -> str:
    """Returns the namespace, or raises `ValueError`: it becomes a segment of a URL's path."""
    if not NAMESPACE.fullmatch(value) or value in {".", ".."}:
        raise ValueError("a namespace has 1 to 512 characters out of A-Z a-z 0-9 _ . : @ # = + ~ -")
    return value


def _host(value: str) -> str:
    if not HOST.fullmatch(value):
        raise ValueError("must be a host, such as https://articles-abc123.svc.pinecone.io")
    return value


def _key(value: str) -> str:
    if not HEADER_VALUE.fullmatch(value):
        raise ValueError("a key has no spaces, line breaks or characters outside of ASCII")
    return value


def _keys(value: str) -> str:
    """Keys separated by commas: two are valid while one replaces the other."""
    keys = [key.strip() for key in value.split(",")]
    if not all(HEADER_VALUE.fullmatch(key) and len(key) >= MIN_KEY_LENGTH for key in keys):
        raise ValueError(
            f"each key has at least {MIN_KEY_LENGTH} characters, none of them a space, a line "
            "break or outside of ASCII; keys are separated by commas"
        )
    return ",".join(keys)


def _origins(value: str) -> str:
    """Origins as browsers send them: in lower case, and without the default port."""
    origins = [origin.strip().lower() for origin in value.split(",") if origin.strip()]
    for origin in origins:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is not an origin, such as https://shop.example.org; "
                "several are separated by commas, and `*` is any"
            )
    return ",".join(
        origin.removesuffix(DEFAULT_PORTS.get(origin.partition(":")[0], "")) for origin in origins
    )


def _host_names(value: str) -> str:
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    for name in names:
        if not HOST_NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is not a host name without scheme and port, such as "
                "search.example.org; several are separated by commas"
            )
    return ",".join(names)


def _networks(value: str) -> str:
    networks = [network.strip() for network in value.split(",") if network.strip()]
    for network in networks:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise ValueError(
                f"{network!r} is not an IP address or a network, such as 10.0.0.0/8; "
                "several are separated by commas"
            ) from None
    return ",".join(networks)


def _split(url: str) -> SplitResult:
    """The parts of a URL; all of them empty if it has no valid host and port."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return urlsplit("")
    return parts


def _redis_url(value: str) -> str:
    parts = _split(value)
    target = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in {"redis", "rediss", "unix"} or not target:
        raise ValueError(
            "must be the URL of a Redis server, such as redis://:password@host:6379/0, rediss://… "
            "for TLS, or unix:///path/to/socket"
        )
    return value


def _database_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise ValueError(
            "must be the URL of a PostgreSQL database, such as "
            "postgresql://user:password@host:5432/database"
        )
    return value


Text = Annotated[str | None, _text(str)]
Host = Annotated[str | None, _text(_host)]
Origins = Annotated[str | None, _text(_origins)]
HostNames = Annotated[str | None, _text(_host_names)]
Key = Annotated[SecretStr | None, _secret(_key)]
Networks = Annotated[str | None, _text(_networks)]
Keys = Annotated[SecretStr | None, _secret(_keys)]
RedisUrl = Annotated[SecretStr | None, _secret(_redis_url)]
DatabaseUrl = Annotated[SecretStr | None, _secret(_database_url)]
Namespace = Annotated[str, AfterValidator(check_namespace)]
