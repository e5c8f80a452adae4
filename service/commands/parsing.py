"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from service.settings import check_namespace


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number in a range."""

    def parse(value: str) -> int:
        if not value.isascii() or not value.isdecimal() or not least <= int(value[:12]) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
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


def add_place(parser: argparse.ArgumentParser) -> None:
    """Where: the same for every command."""
    parser.add_argument(
        "--namespace",
        type=namespace,
        default=None,
        metavar="NAME",
        help="in which namespace; PINECONE_NAMESPACE without",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="go through the running service at URL, such as http://127.0.0.1:8000, with the key "
        "in SERVICE_API_KEY if it wants one; without, this process opens what the settings name",
    )
