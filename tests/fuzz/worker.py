"""`python -m tests.fuzz.worker PARSER …`: fuzz one parser with atheris, in a process of its own.

The other arguments are those of libFuzzer. Only the code that is imported here is instrumented.
"""

from __future__ import annotations

import sys

import atheris

INSTRUMENTED = ["service", "h11", "werkzeug.sansio"]

with atheris.instrument_imports(include=INSTRUMENTED):
    from tests.fuzz.parsers import PARSERS


def main() -> None:
    name, *arguments = sys.argv[1:]
    program = f"{sys.executable} -m tests.fuzz.worker {name}"  # a merge starts it in a shell
    atheris.Setup([program, *arguments], PARSERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
