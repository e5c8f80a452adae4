"""The matrix of callers, routes and methods over the embedded engine.

`python -m tests.campaigns.tenants` prints it as a table.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from quart import Quart

from service.app import create_app
from service.settings import load_settings
from service.web.authentication import PUBLIC_ENDPOINTS
from tests.conftest import open_client
from tests.tenants import requests
from tests.tenants.matrix import Matrix, Report
from tests.tenants.world import RECORDS

SERVICE_KEY = "a-key-of-the-service-of-more-than-32-characters"
PARTS = ("try_searches", "try_streams", "try_records")


def create(data_dir: Path) -> Quart:
    settings = load_settings(
        data_dir=str(data_dir), service_api_keys=SERVICE_KEY, typing_pause_ms=0
    )
    return create_app(settings)


@contextlib.asynccontextmanager
async def prepared(data_dir: Path) -> AsyncIterator[Matrix]:
    app = create(data_dir)
    async with open_client(app) as client:
        matrix = Matrix(app, client, SERVICE_KEY)
        await matrix.prepare()
        yield matrix


async def run(data_dir: Path, *parts: str) -> Report:
    """Run parts of the matrix; no record may be changed by it."""
    async with prepared(data_dir) as matrix:
        for part in parts:
            await getattr(matrix, part)()
        left = {(each["_namespace"], each["_id"]): each for each in await matrix.records_left()}
    for record in RECORDS:
        assert left[record.namespace, record.id].items() >= record.body.items()
    return matrix.report


@pytest.mark.parametrize("part", PARTS)
async def test_no_caller_sees_or_changes_what_it_may_not(tmp_path: Path, part: str) -> None:
    """No status differs from what the caller may do, and no mark of a hidden record is told."""
    report = await run(tmp_path, part)
    assert report.leaks == []
    assert sorted(set(report.wrong)) == []


def test_every_route_is_in_the_matrix(tmp_path: Path) -> None:
    """A new route fails here until the matrix has it."""
    tried = {
        *((each.path, each.method) for each in requests.attempts(RECORDS[0])),
        (requests.SOCKET, "WEBSOCKET"),
        (requests.IMPORT, "GET"),
        (requests.IMPORT, "DELETE"),
        (requests.EVENTS, "GET"),
        (requests.KEYS, "GET"),
        (requests.KEYS, "POST"),
        (requests.KEY, "GET"),
        (requests.KEY, "DELETE"),
        (requests.ROTATE, "POST"),
    }
    served = {
        (rule.rule, "WEBSOCKET" if rule.websocket else method)
        for rule in create(tmp_path).url_map.iter_rules()
        if rule.endpoint not in PUBLIC_ENDPOINTS
        for method in (["GET"] if rule.websocket else (rule.methods or set()))
        if method not in {"HEAD", "OPTIONS"}
    }
    assert served == tried
