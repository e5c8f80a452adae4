"""Runs the examples of one page in order, and compares documented with actual output.

- `sh` and `python` blocks run. A `json` or `text` block after one is its output.
- A block with `title="…"` is a file that the page tells its reader to write.
- A block whose last command is a server stays up for the rest of the page.
- `<!-- doc-test: skip, REASON -->` above a block: it can't run here.
- `<!-- doc-test: part -->` above `json`: it is some value inside of the last output.
- `<!-- doc-test: aside -->` above a server: it is started once, beside the one that runs.
- A block without a language is a drawing. Only `DRAWINGS` may have them.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.compare import contains, json_differences, load_last_json, text_differences
from tests.docs.markdown import Block, read_blocks
from tests.docs.workspace import ExampleFailed, Workspace, is_server

DRAWINGS = ("docs/design.md", "docs/decisions/")
SKIP = "skip, "


@dataclass
class Outcome:
    """How many blocks of a page ran, and the marked ones with their reasons."""

    page: str
    ran: int = 0
    skipped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page}: {self.ran} blocks ran, {len(self.skipped)} marked"


def run_page(page: str, folder: Path, text: str | None = None) -> Outcome:
    """Run a page; raises `ExampleFailed` with the place of the first block that is wrong."""
    outcome = Outcome(page)
    blocks = read_blocks(page, text)
    with Workspace(folder) as workspace:
        runner = _Runner(workspace)
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if block.directive is not None and block.directive.startswith(SKIP):
                outcome.skipped.append(f"{block.place}: {block.directive.removeprefix(SKIP)}")
                runner.output = None
            elif block.language or not page.startswith(DRAWINGS):
                _run(runner, block, following)
                outcome.ran += 1
    return outcome


def _run(runner: _Runner, block: Block, following: Block | None) -> None:
    try:
        runner.run(block, following)
    except ExampleFailed as exc:
        raise ExampleFailed(f"{block.place}: {exc}\n\n{block.code}") from None


class _Runner:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.output: str | None = None  # of the last command

    def run(self, block: Block, following: Block | None) -> None:
        """Run one block, whose output `following` may document."""
        if block.language == "python":
            path = self._workspace.write(
                block.title or f"line_{block.line}.py", self._workspace.with_ports(block.code)
            )
            self._run_commands(f"python {path.name}", following)
        elif block.title:
            self._workspace.write(block.title, block.code)
        elif block.language == "sh" and is_server(block.code):
            self._workspace.serve(block.code, aside=block.directive == "aside")
        elif block.language == "sh":
            self._run_commands(block.code, following)
        elif block.is_output:
            self._compare(block)
        elif block.language == "toml":
            tomllib.loads(block.code)
        else:
            raise ExampleFailed(f"a block of {block.language or 'no language'} can't be run")

    def _run_commands(self, code: str, following: Block | None) -> None:
        done = self._workspace.run(code)
        documented = following is not None and following.is_output
        if done.returncode and not (documented and done.stdout):
            raise ExampleFailed(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
        self.output = done.stdout

    def _compare(self, block: Block) -> None:
        if self.output is None:
            raise ExampleFailed("no command stands before this output")
        if block.language == "text":
            differences = list(text_differences(block.code, self.output))
        else:
            expected = json.loads(block.code)
            try:
                actual = load_last_json(self.output)
            except ValueError:
                raise ExampleFailed(f"the output is not JSON:\n{self.output}") from None
            if block.directive == "part":
                differences = [] if contains(expected, actual) else [f"not in {self.output}"]
            else:
                differences = list(json_differences(expected, actual))
        if differences:
            raise ExampleFailed("the documented output is another\n" + "\n".join(differences))
