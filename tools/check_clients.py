"""Generates clients from the OpenAPI document, and searches a running service with one of them.

`make check-clients` runs it with the Python of `.clients`, where openapi-python-client is
installed; `service` and `tests` are not imported. Two generators for TypeScript run as well where
Node is, and what they generate is compiled with `strict`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent / "clients"
READY = "serving on "
INSTALL_TIMEOUT_S, TIMEOUT_S = 180, 120
UNPROCESSABLE = 422


def main() -> int:
    python = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder, serving(python, Path(folder)) as url:
        document = Path(folder, "openapi.json")
        document.write_bytes(httpx.get(f"{url}/api/openapi.json").content)
        print(f"the document has {document.stat().st_size:,} bytes")
        check_python(document, url)
        check_typescript(document)
    return 0


@contextlib.contextmanager
def serving(python: str, folder: Path) -> Iterator[str]:
    """Serve the sample records on a free port."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    settings = {"PORT": "0", "LOAD_SAMPLES": "true", "DATA_DIR": str(folder / "data")}
    command = [python, "-m", "service", "serve"]
    with subprocess.Popen(
        command, env=kept | settings, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            line = next((each for each in process.stderr if READY in each), None)
            if line is None:
                raise SystemExit("the service did not start")
            yield line.split(READY)[1].split()[0]
        finally:
            process.terminate()


def check_python(document: Path, url: str) -> None:
    """Generate without a warning; search, and read an error."""
    target = document.with_name("generated")
    config = document.with_name("config.yml")
    config.write_text("post_hooks: []\npackage_name_override: generated_client\n")
    run(
        sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning",
        "--path", document, "--output-path", target, "--config", config,
    )  # fmt: skip
    sys.path.insert(0, str(target))
    client = importlib.import_module("generated_client").Client(base_url=url)
    search: Any = importlib.import_module("generated_client.api.search.get_cascading_search")
    found = search.sync_detailed(client=client, text_query="bread", top_k=3, fields=["*"])
    assert found.parsed.results[0].field_id, found
    refused = search.sync_detailed(client=client, text_query="bread", top_k=0)
    assert refused.status_code == UNPROCESSABLE, refused
    assert refused.parsed.code == "invalid_request", refused
    print("openapi-python-client: no warning; its client searches and reads errors")


def check_typescript(document: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        print("skipped: openapi-typescript and @hey-api/openapi-ts need Node")
        return
    folder = document.with_name("typescript")
    shutil.copytree(HERE, folder)
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
    try:
        subprocess.run(install, cwd=folder, check=True, timeout=INSTALL_TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as exc:
        print(f"skipped: the generators for TypeScript could not be installed ({exc})")
        return
    run("npx", "openapi-typescript", document, "-o", "types/api.ts", cwd=folder)
    run("npx", "openapi-ts", "-i", document, "-o", "client", cwd=folder)
    run("npx", "tsc", "-p", ".", cwd=folder)
    print("openapi-typescript and @hey-api/openapi-ts: compiled with strict")


def run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, check=False, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
