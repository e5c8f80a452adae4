"""The matrix of tenants, routes, methods and protocols, as a table with counts."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path

from tests.tenants import conftest  # noqa: F401 - the WebSocket of the test client
from tests.tenants.test_matrix import PARTS, run


def main() -> int:
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(run(Path(folder), *PARTS))
    print(report.table())
    for line in (*report.wrong, *report.leaks):
        print(line)
    return 1 if report.wrong or report.leaks else 0


if __name__ == "__main__":
    raise SystemExit(main())
