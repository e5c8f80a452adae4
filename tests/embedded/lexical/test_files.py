"""Lexical index on a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service.embedded.lexical.index import LexicalIndex
from service.embedded.lexical.queries import TextClause

FULL = """
import resource, sys
from pathlib import Path
from service.embedded.lexical.index import LexicalIndex
from service.embedded.lexical.queries import TextClause

view = LexicalIndex(Path(sys.argv[1]), ["text"])
view.apply([(1, {"text": "red"})], [])
view.commit(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
words = " ".join(f"w{n}" for n in range(20_000))
for attempt in range(3):
    try:
        view.apply([(docno, {"text": f"red {words}"}) for docno in range(2, 9)], [1])
        view.commit(2)
    except OSError as e:
        print(e.__cause__ is not None, "must be reopened" in str(e))
    found = view.search([TextClause("red", ())], 9)
    print(view.committed_seq, found[0][0], *view.match("text", "$match_any", "red"))
view.close()
"""


def test_failed_write_keeps_last_commit_and_requires_reopening(
    tmp_path: Path,
) -> None:
    """The library alone would commit the next time, without the data it failed to write."""
    for at, size in enumerate(("0", "20000")):
        folder = tmp_path / str(at)
        run = subprocess.run(
            [sys.executable, "-c", FULL, str(folder), size],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        told = "True False\n1 1 1\nTrue True\n1 1 1\nTrue True\n1 1 1\n"
        assert run.stdout == told, run.stderr
        view = LexicalIndex(folder, ["text"])
        assert view.committed_seq == 1
        view.apply([(2, {"text": "red"})], [1])
        view.commit(2)
        assert [docno for docno, _ in view.search([TextClause("red", ())], 9)] == [2]
        view.close()
