"""`keys`: create, list, revoke and rotate API keys, in the key store or through a service."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from service.access.grant import ALL_ACTIONS
from service.commands.interrupt import run
from service.commands.parsing import add_data_dir, json_object, names, whole
from service.commands.terminal import printable
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ALL = "all"
DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MAX_AMOUNT = 10**11
COLUMNS = ("id", "name", "state", "actions", "namespaces", "limits")
EXAMPLES = """
examples:
  cascade keys create --name web --actions search --namespaces 'shop-*' --rate 20/s
  cascade keys create --name admin --actions all --expires 90d
  cascade keys list
  cascade keys rotate ID --grace 24h
  cascade keys revoke ID
"""


class KeyCommands(Protocol):
    """The keys of a store or of a service, in the JSON of the API."""

    async def create(self, rights: Mapping[str, Any]) -> dict[str, Any]: ...

    async def list(self) -> Sequence[dict[str, Any]]: ...

    async def revoke(self, id: str) -> dict[str, Any]: ...

    async def rotate(self, id: str, grace_s: int) -> dict[str, Any]: ...


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Manage API keys with rights, in DATA_DIR or DATABASE_URL, while a service runs or not. "
        "A service that has had a key requires one of every caller."
    )
    parser.epilog = EXAMPLES
    commands = parser.add_subparsers(required=True, metavar="ACTION")
    _configure_create(commands.add_parser("create", help="create a key, and print it once"))
    listing = commands.add_parser("list", help="list the keys, without their secrets")
    _finish(listing, _list)
    revoke = commands.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("id", metavar="ID", help="id of the key")
    _finish(revoke, _revoke)
    rotate = commands.add_parser("rotate", help="give a key another secret, and print it once")
    rotate.add_argument("id", metavar="ID", help="id of the key")
    rotate.add_argument(
        "--grace",
        type=_duration,
        default=timedelta(),
        metavar="TIME",
        help="how long the key before it stays valid, such as 24h (default: not at all)",
    )
    _finish(rotate, _rotate)


def _configure_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="a name, for lists and logs")
    parser.add_argument(
        "--actions",
        type=_actions,
        required=True,
        metavar="A,B",
        help=f"what it may do: {', '.join(sorted(ALL_ACTIONS))}, or {ALL}",
    )
    parser.add_argument(
        "--namespaces",
        type=names,
        metavar="A,B",
        help="namespaces that it may use; prefix* for all that begin so (default: all)",
    )
    parser.add_argument(
        "--filter", type=json_object, metavar="JSON", help="it sees only records that match"
    )
    parser.add_argument(
        "--fields", type=names, metavar="A,B", help="the only fields that it sees (default: all)"
    )
    parser.add_argument("--rate", metavar="N/s", help="most requests in a period: 5/s, 100/m, 9/h")
    for name, what in (
        ("read-units", "read units"),
        ("records", "written records"),
        ("bytes", "bytes of written records"),
    ):
        parser.add_argument(
            f"--{name}-per-day", type=whole(1, MAX_AMOUNT), metavar="N", help=f"most {what} a day"
        )
    parser.add_argument(
        "--expires",
        type=_moment,
        metavar="TIME",
        help="when it expires: 90d, 12h or 2030-01-31 (default: never)",
    )
    _finish(parser, _create)


def _finish(
    parser: argparse.ArgumentParser,
    command: Callable[[KeyCommands, argparse.Namespace], Awaitable[None]],
) -> None:
    """Options that all of them have."""
    parser.add_argument("--json", action="store_true", help="print the JSON of the API")
    parser.add_argument(
        "--url",
        metavar="URL",
        help="use the running service at URL, with a key in SERVICE_API_KEY that allows keys",
    )
    add_data_dir(parser)

    def run_command(settings: Settings, options: argparse.Namespace) -> int:
        async def work() -> int:
            async with _open(settings, options.url) as keys:
                await command(keys, options)
            return 0

        return run(lambda _: work())

    parser.set_defaults(run=run_command, quiet=True, settings=("data_dir",))


def _open(settings: Settings, url: str | None) -> AbstractAsyncContextManager[KeyCommands]:
    return _open_remote(settings, url) if url else _open_local(settings)


@asynccontextmanager
async def _open_local(settings: Settings) -> AsyncIterator[KeyCommands]:
    from service.audit import AuditLog
    from service.commands.local_keys import LocalKeys
    from service.keys.keys import Keys, keys_file

    url = settings.database_url
    store = Keys(keys_file(settings.data_dir), url.get_secret_value() if url else None)
    async with store.opened():
        path = settings.audit_log
        yield LocalKeys(store, AuditLog(path, settings.secrets) if path else None)


@asynccontextmanager
async def _open_remote(settings: Settings, url: str) -> AsyncIterator[KeyCommands]:
    from service.commands.remote import open_remote

    async with open_remote(settings, url) as remote:
        yield remote.keys


async def _create(keys: KeyCommands, options: argparse.Namespace) -> None:
    quota = {
        name: amount
        for name in ("read_units", "records", "bytes")
        if (amount := getattr(options, f"{name}_per_day")) is not None
    }
    given = {
        "name": options.name,
        "actions": options.actions,
        "namespaces": options.namespaces,
        "filter": options.filter,
        "fields": options.fields,
        "rate": options.rate,
        "quota": quota or None,
        "expires_at": options.expires,
    }
    created = await keys.create({name: each for name, each in given.items() if each is not None})
    _print_secret(created, options, f"created the key {created['id']}; it is shown only now:")


async def _list(keys: KeyCommands, options: argparse.Namespace) -> None:
    found = await keys.list()
    if options.json:
        print(orjson.dumps({"keys": found}).decode())
        return
    if not found:
        print("there are no keys")
        return
    rows = [COLUMNS, *(_row(key) for key in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


async def _revoke(keys: KeyCommands, options: argparse.Namespace) -> None:
    revoked = await keys.revoke(options.id)
    if options.json:
        print(orjson.dumps(revoked).decode())
    else:
        print(f"revoked the key {revoked['id']} ({printable(revoked['name'])})")


async def _rotate(keys: KeyCommands, options: argparse.Namespace) -> None:
    rotated = await keys.rotate(options.id, int(options.grace.total_seconds()))
    before = f"valid until {rotated['previous_until']}" if options.grace else "refused from now on"
    _print_secret(rotated, options, f"the key before is {before}; the new one is shown only now:")


def _print_secret(key: Mapping[str, Any], options: argparse.Namespace, sentence: str) -> None:
    """The key alone on standard output, so that a script can take it from there."""
    if options.json:
        print(orjson.dumps(key).decode())
        return
    print(sentence, file=sys.stderr)
    print(key["key"])


def _row(key: Mapping[str, Any]) -> tuple[str, ...]:
    limits = [
        *(["filter"] if key["filter"] else []),
        *([f"fields {', '.join(key['fields'])}"] if key["fields"] else []),
        *([key["rate"]] if key["rate"] else []),
        *([f"{each:,} {name} a day" for name, each in (key["quota"] or {}).items() if each]),
    ]
    is_full = set(key["actions"]) == ALL_ACTIONS
    return (
        key["id"],
        printable(key["name"]),
        _state(key),
        ALL if is_full else ",".join(key["actions"]),
        ",".join(key["namespaces"] or ["*"]),
        printable("; ".join(limits)) or "-",
    )


def _state(key: Mapping[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {key['revoked_at'][:10]}"
    if not key["expires_at"]:
        return "valid"
    is_past = datetime.fromisoformat(key["expires_at"]) <= datetime.now(UTC)
    return f"{'expired' if is_past else 'until'} {key['expires_at'][:16]}"


def _actions(value: str) -> list[str]:
    return sorted(ALL_ACTIONS) if value == ALL else names(value)


def _duration(value: str) -> timedelta:
    match = DURATION.fullmatch(value)
    if match is None:
        raise argparse.ArgumentTypeError("must be a time such as 90s, 30m, 24h, 90d or 8w")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _moment(value: str) -> str:
    """A moment, or a time from now on."""
    if DURATION.fullmatch(value):
        moment = datetime.now(UTC) + _duration(value)
    else:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise argparse.ArgumentTypeError(
                "must be a time from now such as 90d, or a date such as 2030-01-31T12:00"
            ) from None
    return moment.astimezone(UTC).isoformat(timespec="seconds")
