"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import orjson

from service.errors import CommandFailed
from service.settings import Settings, check_namespace


def whole(minimum: int, maximum: int) -> Callable[[str], int]:
    """Returns a parser of whole numbers in a range."""

    def parse(value: str) -> int:
        if (
            not value.isascii()
            or not value.isdecimal()
            or not minimum <= int(value[:12]) <= maximum
        ):
            raise argparse.ArgumentTypeError(f"must be a whole number from {minimum} to {maximum}")
        return int(value)

    return parse


def share(value: str) -> float:
    """A number from 0 to 1."""
    if not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", value) or not 0 <= float(value) <= 1:
        raise argparse.ArgumentTypeError("must be a number from 0 to 1, such as 0.5")
    return float(value)


def namespace(value: str) -> str:
    try:
        return check_namespace(value)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def json_object(value: str) -> dict[str, Any]:
    try:
        decoded = orjson.loads(value)
    except orjson.JSONDecodeError as exc:
        raise argparse.ArgumentTypeError(f"is not JSON: {exc}") from None
    if not isinstance(decoded, dict):
        raise argparse.ArgumentTypeError('must be a JSON object, such as {"year": 2024}')
    return decoded


def names(value: str) -> list[str]:
    found = [name.strip() for name in value.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError("must be names with commas between them")
    return found


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--namespace",
        type=namespace,
        default=None,
        metavar="NAME",
        help="namespace of the records (default: PINECONE_NAMESPACE)",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="use the running service at URL, such as http://127.0.0.1:8000, with the key in "
        "SERVICE_API_KEY if it needs one (default: open what the settings name)",
    )
    add_data_dir(parser)
    parser.set_defaults(settings=("data_dir",))


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", metavar="DIR", help="directory of the embedded engine (sets DATA_DIR)"
    )


def check_embedded(settings: Settings, command: str) -> None:
    """Raise `CommandFailed` for a command that Pinecone's indexes have no use for."""
    if settings.backend == "pinecone":
        raise CommandFailed(
            f"{command} is for the embedded engine, and the settings name Pinecone's indexes: use "
            "/api/export for the records, or Pinecone's own backups for the indexes"
        )
