"""`make campaign-index`: the embedded index against a dictionary, for as long as you like."""

from __future__ import annotations

import argparse
import contextlib
import logging
import time
from collections import Counter

from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.campaigns.index_machine import IndexMachine


def run(sequences: int, longest: int, done: Counter[str]) -> None:
    """Run the machine, and count what it does."""

    class Counted(IndexMachine):
        def did(self, what: str) -> None:
            done[what] += 1

    logging.getLogger("pinecone").setLevel(logging.WARNING)  # it tells of every call
    checked = settings(
        max_examples=sequences,
        stateful_step_count=longest,
        deadline=None,
        database=None,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Counted, settings=checked)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make campaign-index", description=__doc__)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--longest", type=int, default=12, help="rules in one sequence, at most")
    asked = parser.parse_args()
    began = time.monotonic()
    done: Counter[str] = Counter()
    with contextlib.suppress(KeyboardInterrupt):  # who has seen enough is told how much it was
        run(asked.sequences, asked.longest, done)
    print(
        f"{done['sequences']} sequences, {done['calls']} calls, {done['openings']} openings, "
        f"no difference, {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
