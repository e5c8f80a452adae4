"""`python -m service`."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the Python that runs this may be any
    raise SystemExit(
        f"cascade: needs Python 3.11, 3.12 or 3.13; {sys.executable} is {sys.version.split()[0]}"
    )

from service.cli import main

raise SystemExit(main())
