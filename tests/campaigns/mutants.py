"""Mutation of the modules of access and limits: does a test fail for each change of the code?

mutmut changes one expression at a time in a copy of the project, and runs the tests that cover it.
It leaves out functions with a decorator, so the copy has properties in another form that means the
same. Survivors that differ only in the wording of a sentence for people are counted apart.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

TIMEOUTS = {24, -24, 36, 152, 255}
NO_TESTS = {5, 33}
GROUPS: dict[str, tuple[list[str], list[str]]] = {
    "access": (
        [
            "service/access/*.py",
            "service/keys/rights.py",
            "service/records/scoped.py",
            "service/web/search/narrowing.py",
        ],
        [
            "tests/access",
            "tests/keys/test_rights.py",
            "tests/records/test_scoped.py",
            "tests/web/search/test_narrowing.py",
        ],
    ),
    "web": (
        ["service/web/authentication.py", "service/web/rate_limits.py"],
        [
            "tests/web/test_authentication.py",
            "tests/web/test_rate_limits.py",
            "tests/web/test_websockets.py",
        ],
    ),
}
DECORATED = re.compile(
    r"^(?P<indent> *)@(?P<decorator>property|contextlib\.asynccontextmanager|lru_cache\(.*\))\n"
    r"(?P<function>(?P=indent)(?:async )?def (?P<name>\w+)\(.*\n"
    r"(?:(?:(?P=indent) .*)?\n|(?P=indent)\).*\n)*)",
    re.MULTILINE,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", default=list(GROUPS), help=", ".join(GROUPS))
    parser.add_argument("--sample", type=float, default=1.0, help="which share of the mutants")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    for group in given.groups:
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder) / "project"
            prepare(project, *GROUPS[group])
            run(project, given.sample, given.processes)
            report(project)
    return 0


def prepare(project: Path, modules: list[str], tests: list[str]) -> None:
    """Copy the files of the project, and configure mutmut there."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True, text=True)  # noqa: S607
    names = [name for name in listed.stdout.split("\0") if name and Path(name).is_file()]
    for name in names:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, project / name)
    for pattern in modules:
        for path in project.glob(pattern.replace("*.py", "**/*.py")):
            path.write_text(without_decorators(path.read_text()))
    copied = sorted({Path(name).parts[0] for name in names} - {"service", "tests"})
    settings = {
        "source_paths": ["service"],
        "only_mutate": modules,
        "also_copy": copied,
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--timeout=60"],
        "timeout_constant": 20.0,
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    lines += ["use_git_change_detection = false\n", "track_dependencies = false\n"]
    with (project / "pyproject.toml").open("a") as file:
        file.writelines(["\n[tool.mutmut]\n", *lines])
    conftest = project / "tests" / "conftest.py"  # a failing example need not be made smaller
    conftest.write_text(
        conftest.read_text().replace(
            "    deadline=None,\n",
            "    deadline=None,\n    database=None,\n"
            "    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),\n",
            1,
        )
    )


def without_decorators(source: str) -> str:
    """`@property` as an assignment after the function; a memo would hide what is mutated."""

    def rewritten(match: re.Match[str]) -> str:
        body, name, decorator = match["function"], match["name"], match["decorator"]
        if decorator.startswith("lru_cache"):
            return body
        blank = body[len(body.rstrip("\n")) + 1 :]
        return f"{body.rstrip()}\n\n{match['indent']}{name} = {decorator}({name})\n{blank}"

    return DECORATED.sub(rewritten, source)


def run(project: Path, sample: float, processes: int) -> None:
    mutmut = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(processes)]
    names: list[str] = []
    if sample < 1:
        subprocess.run([*mutmut, "no such mutant"], cwd=project, check=False)
        found = sorted(name for _, codes in results(project) for name in codes)
        names = random.Random(13).sample(found, round(len(found) * sample))
    subprocess.run([*mutmut, *names], cwd=project, check=False)


def results(project: Path) -> Iterator[tuple[str, Mapping[str, int | None]]]:
    """The modules, with the exit status of the tests for each mutant."""
    mutants = project / "mutants"
    for path in sorted(mutants.glob("service/**/*.py.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"]
        if codes:
            yield str(path.relative_to(mutants)).removesuffix(".meta"), codes


def report(project: Path) -> None:
    """Print a table of the modules, and the differences of all survivors."""
    print(f"{'module':<42}{'mutants':>9}{'killed':>8}{'timeout':>9}{'survived':>10}{'wording':>9}")
    survivors: list[str] = []
    total: Counter[str] = Counter()
    for module, codes in results(project):
        counts: Counter[str] = Counter()
        for name, code in codes.items():
            if code is None:
                continue
            survived = code == 0 or code in NO_TESTS
            difference = difference_of(project, module, name) if survived else ""
            if survived and is_wording(difference):
                outcome = "wording"
            elif survived:
                outcome = "survived"
                survivors.append(f"{name}\n{difference}\n")
            else:
                outcome = "timeout" if code in TIMEOUTS else "killed"
            counts.update((outcome, "mutants"))
        print_row(module, counts)
        total.update(counts)
    print_row("all", total)
    print("\n".join(["", *survivors]))


def print_row(name: str, counts: Counter[str]) -> None:
    columns = (("mutants", 9), ("killed", 8), ("timeout", 9), ("survived", 10), ("wording", 9))
    print(f"{name:<42}" + "".join(f"{counts[column]:>{width}}" for column, width in columns))


def difference_of(project: Path, module: str, name: str) -> str:
    """The lines that a mutant removes and adds."""
    code = (
        "import sys; from mutmut.mutation.diff_apply import get_diff_for_mutant as d; "
        "print(d(sys.argv[1], path=sys.argv[2]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, name, module],
        cwd=project,
        capture_output=True,
        check=False,
        text=True,
    )
    lines = [line for line in shown.stdout.splitlines() if line.startswith(("-", "+"))]
    return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


def is_wording(difference: str) -> bool:
    """Whether a mutant changes only the letters of a text of several words."""
    lines = [line.replace("XX", "").casefold() for line in difference.splitlines()]
    removed = [line[1:] for line in lines if line.startswith("-")]
    added = [line[1:] for line in lines if line.startswith("+")]
    return removed == added and re.search(r"[\"'].* .*[\"']", difference) is not None


if __name__ == "__main__":
    raise SystemExit(main())
