"""`keys`: what the command prints, on a key store and through a service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.access.key_format import id_of
from tests.conftest import Command
from tests.e2e.process import serving_offline

ADMIN = "a-key-of-the-service-1"


@pytest.fixture
def created(command: Command) -> str:
    """The text of a key with limits."""
    done = command(
        *("keys", "create", "--name", "web shop", "--actions", "search,stats"),
        *("--namespaces", "shop-*", "--filter", '{"public": true}', "--fields", "title,price"),
        *("--rate", "20/s", "--records-per-day", 9_000, "--expires", "2999-01-31"),
    )
    assert done.returncode == 0, done.stderr
    assert "it is shown only now" in done.stderr
    return done.stdout.removesuffix("\n")


def test_keys_create_prints_the_key_alone(created: str, command: Command) -> None:
    id = id_of(created)
    assert id
    listed = command("keys", "list")
    header, row = listed.stdout.splitlines()
    assert header.split() == ["id", "name", "state", "actions", "namespaces", "limits"]
    for cell in (
        id,
        "web shop",
        "until 2999-01-31T00:00",
        "search,stats",
        "shop-*",
        "filter; fields title, price; 20/s; 9,000 records a day",
    ):
        assert cell in row
    assert created not in listed.stdout
    (as_json,) = json.loads(command("keys", "list", "--json").stdout)["keys"]
    assert as_json["filter"] == {"public": True}
    assert "key" not in as_json


def test_keys_rotate_and_revoke(created: str, command: Command) -> None:
    id = id_of(created)
    rotated = command("keys", "rotate", id)
    assert "refused from now on" in rotated.stderr
    assert id_of(rotated.stdout.strip()) == id
    assert rotated.stdout.strip() != created
    with_grace = command("keys", "rotate", id, "--grace", "24h", "--json")
    assert json.loads(with_grace.stdout)["previous_until"]
    revoked = command("keys", "revoke", id)
    assert revoked.stdout == f"revoked the key {id} (web shop)\n"
    assert "revoked 2" in command("keys", "list").stdout
    for again in (("rotate", id), ("revoke", "a" * 16)):
        refused = command("keys", *again)
        assert refused.returncode == 1
        assert refused.stderr == "cascade: There is no API key with this id\n"


def test_changes_of_keys_by_the_command_are_audited(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    create = ("keys", "create", "--name", "web shop", "--actions", "search")
    text = command(*create, AUDIT_LOG=path).stdout.strip()
    id = id_of(text)
    command("keys", "list")
    command("keys", "rotate", id)
    command("keys", "revoke", id)
    command("keys", "revoke", "a" * 16)
    created, rotated, revoked, failed = map(json.loads, path.read_text().splitlines())
    assert (created["action"], created["created_key_id"]) == ("keys.create", id)
    assert (created["created_key_name"], created["actions"]) == ("web shop", ["search"])
    assert (rotated["action"], rotated["rotated_key_id"]) == ("keys.rotate", id)
    assert (revoked["action"], revoked["outcome"]) == ("keys.revoke", "success")
    assert (failed["outcome"], failed["code"]) == ("failed", "not_found")
    assert {line["uid"] for line in (created, rotated, revoked, failed)} == {os.getuid()}
    assert text not in path.read_text()


def test_key_is_not_created_if_that_cannot_be_audited(command: Command, tmp_path: Path) -> None:
    create = ("keys", "create", "--name", "web shop", "--actions", "search")
    refused = command(*create, AUDIT_LOG=tmp_path)
    assert refused.returncode == 1
    assert "AUDIT_LOG: can't open" in refused.stderr
    assert json.loads(command("keys", "list", "--json").stdout)["keys"] == []


def test_keys_list_without_keys_creates_nothing(command: Command, tmp_path: Path) -> None:
    done = command("keys", "list", DATA_DIR=tmp_path / "var")
    assert (done.returncode, done.stdout) == (0, "there are no keys\n")
    assert not (tmp_path / "var" / "keys").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--actions", "serach"], "'search', 'records.read'"),
        (["--actions", "search", "--namespaces", "a/b"], "1 to 512 characters"),
        (["--actions", "search", "--rate", "5/w"], "such as 5/s"),
        (["--actions", "search", "--filter", "x"], "is not JSON"),
        (["--actions", "search", "--expires", "soon"], "from now such as 90d"),
        (["--actions", "search,imports", "--fields", "a"], "can't have the action imports"),
        ([], "--actions"),
    ],
)
def test_keys_create_explains_what_is_wrong(
    command: Command, options: list[str], sentence: str
) -> None:
    done = command("keys", "create", "--name", "x", *options)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert done.stdout == ""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a service with a key in its settings, and its data directory."""
    folder = tmp_path_factory.mktemp("keys")
    with serving_offline(folder, SERVICE_API_KEYS=ADMIN, LOAD_SAMPLES="false") as (_, address):
        yield address, folder


def test_keys_of_a_running_service(command: Command, service: tuple[str, Path]) -> None:
    """Through the service, and by its data directory beside it."""
    url, folder = service
    remote = ("--url", url)
    create = ("keys", "create", "--name", "x", "--actions", "stats,keys", "--json")
    created = json.loads(command(*create, *remote, SERVICE_API_KEY=ADMIN).stdout)
    beside = json.loads(command(*create, DATA_DIR=folder).stdout)
    for each in (created, beside):
        assert id_of(each["key"]) == each["id"]
    headers = {"Api-Key": created["key"]}
    assert httpx.get(f"{url}/api/stats", headers=headers).status_code == 200
    assert beside["id"] in command("keys", "list", *remote, SERVICE_API_KEY=ADMIN).stdout
    rotated = command("keys", "rotate", created["id"], *remote, SERVICE_API_KEY=ADMIN)
    assert httpx.get(f"{url}/api/stats", headers=headers).status_code == 401
    headers = {"Api-Key": rotated.stdout.strip()}
    assert httpx.get(f"{url}/api/stats", headers=headers).status_code == 200
    command("keys", "revoke", created["id"], *remote, SERVICE_API_KEY=ADMIN)
    assert httpx.get(f"{url}/api/stats", headers=headers).status_code == 401
    refused = command("keys", "list", *remote, SERVICE_API_KEY=rotated.stdout.strip())
    assert refused.returncode == 1
    assert "SERVICE_API_KEY" in refused.stderr
