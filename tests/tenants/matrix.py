"""Runs every caller against every request, and compares with what the caller may do and see."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import httpx
import jwt
from quart import Quart

from tests.tenants.requests import (
    EVENTS,
    IMPORT,
    KEY,
    KEYS,
    READS,
    ROTATE,
    SEARCHES,
    SOCKET,
    STREAM,
    WRITES,
    Attempt,
    attempts,
)
from tests.tenants.socket import CLOSED, search_over_socket
from tests.tenants.world import ALL, CALLERS, NAMESPACES, RECORDS, Caller, Stored

OK, ACCEPTED, NO_KEY, FORBIDDEN, NOT_FOUND, GONE = 200, 202, 401, 403, 404, 410
LIFETIME_S = 3600
ASKED_ABOUT = [
    Stored("shop-a", 1, "a"),
    Stored("shop-b", 1, "b"),
    Stored("mixed", 1, "a"),
    Stored("mixed", 1, "b"),
    Stored("__default__", 1, "a"),
]


def expected_status(caller: Caller, attempt: Attempt) -> int:  # noqa: PLR0911 - a table
    if not caller.is_authentic:
        return NO_KEY
    if attempt.action not in caller.actions:
        return FORBIDDEN
    if attempt.kind in {READS, WRITES} and attempt.target not in caller.namespaces:
        return FORBIDDEN
    if attempt.kind == WRITES:
        accepted = ACCEPTED if attempt.path == "/api/imports" else OK
        return FORBIDDEN if attempt.target in caller.sees_part else accepted
    if attempt.hidden_condition and caller.fields is not None:
        return FORBIDDEN
    if attempt.record is not None and not caller.sees(attempt.record):
        return NOT_FOUND
    return OK


@dataclass
class Report:
    """The number of requests by route and method, and of what went wrong."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, caller: Caller, method: str, route: str, status: int, expected: int) -> None:
        self.requests[route, method] += 1
        self.statuses[status] += 1
        if status != expected:
            self.wrong.append(f"{caller.name}: {method} {route} is {status}, not {expected}")

    def check_marks(self, caller: Caller, what: str, text: str) -> None:
        found = [mark for mark in caller.foreign_marks() if mark in text]
        if found:
            self.leaks.append(f"{caller.name}: {what} tells {found}")

    def table(self) -> str:
        lines = [
            f"{count:6} {method:9} {route}"
            for (route, method), count in sorted(self.requests.items())
        ]
        by_status = ", ".join(
            f"{count} of {status}" for status, count in sorted(self.statuses.items())
        )
        total = f"{sum(self.requests.values())} requests of {len(CALLERS)} callers: {by_status}"
        return "\n".join([*lines, total, f"{len(self.wrong)} wrong, {len(self.leaks)} leaks"])


class Matrix:
    """`service_key` is the one of SERVICE_API_KEYS."""

    def __init__(self, app: Quart, client: httpx.AsyncClient, service_key: str) -> None:
        self.report = Report()
        self._app = app
        self._client = client
        self._secrets: dict[str, str] = {"everything": service_key}
        self._cursors: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._imports: dict[str, str] = {}
        self._seen: set[tuple[str, str, str | None]] = set()

    async def prepare(self) -> None:
        """Store the records, and create the keys and tokens."""
        for namespace in NAMESPACES:
            records = [each.body for each in RECORDS if each.namespace == namespace]
            await self._as_admin(
                "POST",
                "/api/records?wait=visible&namespace=" + namespace,
                json=records,
            )
        ids: dict[str, str] = {}
        for caller in CALLERS:
            if caller.key is not None:
                created = await self._as_admin("POST", "/api/keys", json=caller.key)
                self._secrets[caller.name], ids[caller.name] = created["key"], created["id"]
        listed = await self._as_admin("GET", "/api/keys")
        assert {each["id"] for each in listed["keys"]} == set(ids.values())
        assert not any(secret in json.dumps(listed) for secret in self._secrets.values())
        for caller in CALLERS:
            if caller.rules is not None:
                self._secrets[caller.name] = self._sign(caller, ids)
        await self._as_admin("DELETE", f"/api/keys/{ids['revoked']}")
        self._secrets["unknown key"] = "x" * 80
        self._ids = ids

    def _sign(self, caller: Caller, ids: dict[str, str]) -> str:
        """Any JWT library can sign a token, with the key itself."""
        signer = caller.signer or ""
        uid = self._service_key_id() if signer in {"everything", "forger"} else ids[signer]
        expires_at = int(time.time()) + LIFETIME_S
        claims = {"apiKeyUid": uid, "searchRules": caller.rules, "exp": expires_at}
        secret = self._secrets.get(signer, "another secret of at least 32 characters")
        return jwt.encode(claims | dict(caller.extra), secret, algorithm="HS256")

    def _service_key_id(self) -> str:
        return sha256(self._secrets["everything"].encode()).hexdigest()[:16]

    async def _as_admin(self, method: str, path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._secrets['everything']}"}
        response = await self._client.request(method, path, headers=headers, **body)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def _headers(self, caller: Caller) -> dict[str, str]:
        secret = self._secrets.get(caller.name)
        return {"Authorization": f"Bearer {secret}"} if secret else {}

    async def try_searches(self) -> None:
        await self._try_all(SEARCHES)
        for caller in CALLERS:
            await self._try_cursors(caller)

    async def try_streams(self) -> None:
        await self._try_all((STREAM,))
        for caller in CALLERS:
            for record in ASKED_ABOUT:
                await self._try_socket(caller, record)

    async def try_records(self) -> None:
        """Everything but searches."""
        paths = {each.path for each in attempts(ASKED_ABOUT[0])} - {*SEARCHES, STREAM}
        await self._try_all(paths)
        for caller in CALLERS:
            await self._try_imports(caller)
            await self._try_keys(caller)

    async def _try_all(self, paths: Collection[str]) -> None:
        for caller in CALLERS:
            for record in ASKED_ABOUT:
                for attempt in attempts(record):
                    if attempt.path in paths:
                        await self._try(caller, attempt)

    async def _try(self, caller: Caller, attempt: Attempt) -> None:
        status = expected_status(caller, attempt)
        if status == OK and attempt.method == "DELETE":
            attempt = _harmless(attempt)
        response = await self._send(caller, attempt.method, attempt, status)
        if response.status_code == ACCEPTED:
            self._imports[caller.name] = response.json()["id"]
        if attempt.path in SEARCHES and response.status_code == OK and caller.is_authentic:
            cursor = response.json()["cursor"]
            if cursor:
                self._cursors[caller.name].append((attempt.path, cursor))
        if attempt.path in {"/api/stats", "/api/namespaces"} and response.status_code == OK:
            self._check_namespaces(caller, response.json())
        if (
            attempt.method == "GET"
            and (caller.name, attempt.path, attempt.target) not in self._seen
        ):
            self._seen.add((caller.name, attempt.path, attempt.target))
            head = await self._send(caller, "HEAD", attempt, status)
            assert head.content == b""
            await self._send_options(caller, attempt.path)

    async def _send_options(self, caller: Caller, route: str) -> None:
        """A path has one answer, with the action of any of its methods."""
        path = route.replace("<id:record_id>", "x")
        response = await self._client.options(path, headers=self._headers(caller))
        expected = {OK, FORBIDDEN} if caller.is_authentic else {NO_KEY}
        status = response.status_code
        self.report.add(caller, "OPTIONS", route, status, status if status in expected else OK)
        assert response.content == b"" or status != OK

    async def _send(
        self, caller: Caller, method: str, attempt: Attempt, expected: int
    ) -> httpx.Response:
        path = attempt.path.replace("<id:record_id>", attempt.record.id if attempt.record else "x")
        content = attempt.content
        headers = self._headers(caller)
        if attempt.body is not None:
            content, headers["Content-Type"] = json.dumps(attempt.body).encode(), "application/json"
        response = await self._client.request(
            method, path, params=attempt.query or None, content=content, headers=headers
        )
        self.report.add(caller, method, attempt.path, response.status_code, expected)
        told = response.text + json.dumps(dict(response.headers))
        self.report.check_marks(caller, f"{method} {attempt.path}", told)
        return response

    def _check_namespaces(self, caller: Caller, body: Any) -> None:
        for part in body.get("indexes", {"": body}).values():
            counts = part["namespaces"]
            extra = counts.keys() - set(caller.namespaces) | counts.keys() & caller.filtered
            if extra:
                self.report.leaks.append(f"{caller.name}: counts tell {sorted(extra)}")
            if "records" in part and part["records"] != sum(
                each["records"] for each in counts.values()
            ):
                self.report.leaks.append(f"{caller.name}: the total counts hidden records")

    async def _try_cursors(self, caller: Caller) -> None:
        """The later pages of others."""
        for cursors in list(self._cursors.values()):
            for path, cursor in cursors[:6]:
                # Equal rankings of two callers have equal cursors, stored once for each.
                own = (path, cursor) in self._cursors[caller.name]
                expected = OK if own else GONE
                if not caller.is_authentic or "search" not in caller.actions:
                    expected = NO_KEY if not caller.is_authentic else FORBIDDEN
                attempt = Attempt("GET", path, "search", READS, query={"cursor": cursor})
                await self._send(caller, "GET", attempt, expected)

    async def _try_imports(self, caller: Caller) -> None:
        """The imports of others: a key that is limited sees only its own."""
        sees_all = caller.name == "everything"
        for other, id in self._imports.items():
            expected = OK if sees_all or other == caller.name else NOT_FOUND
            if not caller.is_authentic or "imports" not in caller.actions:
                expected = NO_KEY if not caller.is_authentic else FORBIDDEN
            for method, route in (("GET", IMPORT), ("GET", EVENTS), ("DELETE", IMPORT)):
                path = route.replace("<import_id>", id)
                response = await self._client.request(method, path, headers=self._headers(caller))
                self.report.add(caller, method, route, response.status_code, expected)
                self.report.check_marks(caller, route, response.text)

    async def _try_keys(self, caller: Caller) -> None:
        """The routes of keys, and a key with more rights than its creator."""
        allowed = OK if "keys" in caller.actions else FORBIDDEN
        if not caller.is_authentic:
            allowed = NO_KEY
        id = self._ids["shop-a"]
        wider = json.dumps({"name": "wider", "actions": list(ALL)}).encode()
        created = 201 if caller.name == "everything" else FORBIDDEN
        # A caller with the action `keys` sees the keys that it could have created.
        visible = OK if caller.name == "everything" else NOT_FOUND if allowed == OK else allowed
        for method, route, content, expected in (
            ("GET", KEYS, None, allowed),
            ("POST", KEYS, wider, NO_KEY if allowed == NO_KEY else created),
            ("GET", KEY, None, visible),
            ("POST", ROTATE, None, visible),
            ("DELETE", KEY, None, visible),
        ):
            path = route.replace("<key_id>", "a" * 16 if caller.name == "everything" else id)
            if caller.name == "everything" and route != KEYS:
                expected = NOT_FOUND  # noqa: PLW2901 - the keys of the others are still needed
            response = await self._client.request(
                method,
                path,
                content=content,
                headers=self._headers(caller) | {"Content-Type": "application/json"},
            )
            self.report.add(caller, method, route, response.status_code, expected)

    async def _try_socket(self, caller: Caller, record: Stored) -> None:
        for attempt in attempts(record):
            if attempt.path not in SEARCHES or attempt.method != "POST":
                continue
            expected = expected_status(caller, attempt)
            status, told = await search_over_socket(
                self._app, self._secrets.get(caller.name), attempt
            )
            if status == CLOSED:
                expected = (
                    CLOSED
                    if "search" not in caller.actions or not caller.is_authentic
                    else expected
                )
            self.report.add(caller, "WEBSOCKET", SOCKET, status, expected)
            self.report.check_marks(caller, "the WebSocket", told)

    async def records_left(self) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._secrets['everything']}"}
        response = await self._client.get("/api/export?namespace=*", headers=headers)
        return [json.loads(line) for line in response.text.splitlines()]


def _harmless(attempt: Attempt) -> Attempt:
    """The same deletion, of nothing, where it is allowed."""
    absent = Stored("shop-a", 99, "absent")
    body = attempt.body and (
        {"ids": [absent.id]} if "ids" in attempt.body else {"filter": {"price": -1}}
    )
    return dataclasses.replace(attempt, record=absent if attempt.record else None, body=body)
