"""`make campaign-index`: the embedded index against a model, for any number of sequences."""

from __future__ import annotations

import argparse
import contextlib
import logging
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.campaigns.index_machine import IndexMachine


def run(sequences: int, longest: int, done: Counter[str], *, shrink: bool = True) -> None:
    """Run the state machine, and count its actions in `done`.

    `shrink` makes a failing sequence shorter, which takes minutes.
    """

    class Counted(IndexMachine):
        def did(self, what: str) -> None:
            done[what] += 1

    logging.getLogger("pinecone").setLevel(logging.WARNING)  # it logs every call
    phases = [Phase.explicit, Phase.generate, Phase.target, *([Phase.shrink] if shrink else [])]
    checked = settings(
        max_examples=sequences,
        stateful_step_count=longest,
        deadline=None,
        database=None,
        phases=phases,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Counted, settings=checked)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make campaign-index", description=__doc__)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--longest", type=int, default=12, help="maximum of rules in one")
    options = parser.parse_args()
    began = time.monotonic()
    done: Counter[str] = Counter()
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C prints the counts so far
        run(options.sequences, options.longest, done)
    print(
        f"{done['sequences']} sequences, {done['calls']} calls, {done['openings']} openings, "
        f"no difference, {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
