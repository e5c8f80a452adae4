"""`python -m tests.docs [PAGE …]`: run the examples of the documentation, and count them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs.examples import run_page
from tests.docs.markdown import pages, read_blocks
from tests.docs.workspace import ExampleFailed


def main(named: list[str]) -> int:
    failed = 0
    for page in named or [page for page in pages() if read_blocks(page)]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = run_page(page, Path(folder) / "reader")
            except ExampleFailed as exc:
                failed += 1
                print(f"FAILED {exc}")
            else:
                print(outcome, *(f"  {reason}" for reason in outcome.skipped), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
