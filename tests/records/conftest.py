"""Fixtures: the records API over every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import Settings, load_settings
from tests.conftest import MakeSettings, open_client
from tests.upstream import Upstream

PINECONE = ["records", "documents", "shared"]
BACKENDS = [*PINECONE, "embedded"]


def settings_of(
    backend: str, make_settings: MakeSettings, upstream: Upstream, data_dir: Path
) -> Settings:
    """Settings for two indexes, one index with both fields, or the embedded engine."""
    if backend == "embedded":
        return load_settings(data_dir=str(data_dir))
    if backend == "shared":
        both = upstream.host("dense")
        return make_settings(pinecone_dialect="documents", pinecone_sparse_index_host=both)
    return make_settings(pinecone_dialect=backend)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def api(
    backend: str, make_settings: MakeSettings, upstream: Upstream, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over one backend without records."""
    async with open_client(
        create_app(settings_of(backend, make_settings, upstream, tmp_path))
    ) as client:
        yield client
