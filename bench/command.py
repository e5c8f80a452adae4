"""Option types and signal handling shared by the benchmark commands."""

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
    """Exit through `SystemExit` on a signal, so that child processes are stopped."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
