"""The modules that a process imports, by the backend that it serves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.upstream import API_KEY, Upstream

ENGINE = ["numpy", "usearch", "numkong", "tantivy", "pyroaring", "wordllama", "service.embedded"]
SERVE_A_SEARCH = """
import asyncio, json, sys
import service.cli
from service.app import create_app
from service.settings import load_settings

async def search(settings):
    async with create_app(settings).test_app() as app:
        path = "/api/cascading-retrieval?text_query=cat"
        response = await app.test_client().get(path)
        assert response.status_code == 200, await response.get_data()

asyncio.run(search(load_settings(**json.loads(sys.argv[1]))))
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""


def engine_modules_imported_by(**settings: Any) -> list[str]:
    """The engine's modules in a process that has answered a search."""
    done = subprocess.run(
        [sys.executable, "-c", SERVE_A_SEARCH, json.dumps(settings), *ENGINE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_process_that_serves_pinecone_does_not_import_the_engine(
    upstream: Upstream, tmp_path: Path
) -> None:
    imported = engine_modules_imported_by(
        pinecone_api_key=API_KEY,
        pinecone_dense_index_host=upstream.host("dense"),
        pinecone_sparse_index_host=upstream.host("sparse"),
        pinecone_controller_host=upstream.host("control"),
        data_dir=str(tmp_path),
    )
    assert imported == []


def test_process_that_serves_the_embedded_backend_imports_the_engine(tmp_path: Path) -> None:
    assert "numpy" in engine_modules_imported_by(data_dir=str(tmp_path))
