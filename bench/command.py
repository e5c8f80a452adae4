"""What the commands have in common: numbers in their options, and how they end."""

from __future__ import annotations

import math
import signal
import sys


def above_zero(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise ValueError
    return value


def positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def positives(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def end_on_signals() -> None:
    """On a signal, end what was started, then end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
