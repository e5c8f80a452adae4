"""Generates service/client/_sync from service/client/_async. With --check, only compares them.

unasync removes `async` and `await` and renames what the table below lists; ruff sorts the imports
and formats the result.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

ROOT = Path(__file__).parent.parent
ASYNC, SYNC = Path("service/client/_async"), Path("service/client/_sync")
NAMES = {
    "_async": "_sync",
    "async_io": "sync_io",
    "AsyncSearchClient": "SearchClient",
    "AsyncSource": "Source",
    "AsyncStream": "Stream",
    "AsyncTransport": "Transport",
    "AsyncTyping": "Typing",
    "AsyncWebSocket": "WebSocket",
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncExitStack": "ExitStack",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_bytes": "iter_bytes",
    "anext": "next",
    "aread": "read",
    "enter_async_context": "enter_context",
}
INIT = '"""The blocking client. Generated from `_async` by `make generated`; do not edit."""\n'


def generate(target: Path) -> None:
    """Write the generated modules into `target`."""
    sources = [path for path in sorted((ROOT / ASYNC).glob("*.py")) if path.name != "__init__.py"]
    rule = unasync.Rule(str(ROOT / ASYNC), str(target), additional_replacements=NAMES)
    unasync.unasync_files([str(path) for path in sources], rules=[rule])
    target.joinpath("__init__.py").write_text(INIT)
    for path in sources:
        generated = target / path.name
        header = f"# Generated from {ASYNC / path.name} by `make generated`; do not edit.\n"
        text = generated.read_text().replace("`AsyncSearchClient`", "`SearchClient`")
        generated.write_text(header + text)
    config = ROOT / "pyproject.toml"
    for command in (["check", "--fix", "--select=I", "--no-cache"], ["format", "--no-cache"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", f"--config={config}"]
        subprocess.run([*ruff, str(target)], check=True)  # noqa: S603


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the files are stale")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generated = Path(folder)
        generate(generated)
        modules = {path.name: path.read_text() for path in generated.glob("*.py")}
    current = {path.name: path.read_text() for path in (ROOT / SYNC).glob("*.py")}
    if modules == current:
        return 0
    if options.check:
        sys.exit(f"{SYNC} is stale: run `make generated`")
    shutil.rmtree(ROOT / SYNC, ignore_errors=True)
    (ROOT / SYNC).mkdir()
    for name, text in modules.items():
        (ROOT / SYNC / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
