"""The record operations of the fake upstream: upsert, fetch, list, delete and stats, in memory.

The records of a test are not searched; searches have records of their own (`pinecone.py`).
Requests that exceed Pinecone's limits are refused.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import orjson

Fields = dict[str, Any]
Answer = tuple[int, Any]

MAX_AT_ONCE = 96
MAX_BYTES = 2 * 1024 * 1024
MAX_FIELDS_BYTES = 40 * 1024
MAX_IDS = 1000


class Records:
    """Stored records by index, namespace and id; `poison` is a set of ids to refuse."""

    def __init__(self) -> None:
        self.poison: set[str] = set()
        self._stored: dict[tuple[str, str], dict[str, Fields]] = {}

    def of(self, index: str, namespace: str = "__default__") -> dict[str, Fields]:
        """The records of one namespace of one index."""
        return self._stored.setdefault((index, namespace), {})

    def answer(
        self, index: str, path: str, body: Any, query: dict[str, list[str]], size: int
    ) -> Answer | None:
        """Status and JSON of a record operation; None for any other request."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        found: Answer | None = None
        match parts:
            case ["describe_index_stats"]:
                found = 200, self._stats(index)
            case ["records", "namespaces", namespace, "upsert"]:
                found = self._upsert(index, namespace, body, size)
            case ["vectors", "fetch"]:
                found = 200, self._vectors(self.of(index, query["namespace"][0]), query["ids"])
            case ["vectors", "fetch_by_metadata"]:
                page, more = self._where(self.of(index, body["namespace"]), body)
                found = 200, {**self._vectors(page, list(page)), **more}
            case ["vectors", "list"]:
                given = {name: values[0] for name, values in query.items()}
                given["pagination_token"] = given.pop("paginationToken", "")
                found = self._list(self.of(index, given["namespace"]), given, "vectors", "id")
            case ["vectors", "delete"]:
                found = self._delete(self.of(index, body["namespace"]), body, "deleteAll")
            case ["namespaces", namespace, "documents", verb]:
                found = self._document(index, namespace, verb, body, size)
        return found

    def _document(
        self, index: str, namespace: str, verb: str, body: Any, size: int
    ) -> Answer | None:
        stored = self.of(index, namespace)
        usage = {"namespace": namespace, "usage": {"read_units": 1}}
        match verb:
            case "upsert":
                status, answer = self._upsert(index, namespace, body["documents"], size)
                count = {"upserted_count": len(body["documents"])}
                return status, count if status == 201 else answer
            case "fetch" if "filter" in body:
                page, more = self._where(stored, body)
                found = {id: {"_id": id, **page[id]} for id in page}
                return 200, {"documents": found, **usage, **more}
            case "fetch":
                found = {id: {"_id": id, **stored[id]} for id in body["ids"] if id in stored}
                return 200, {"documents": found, **usage}
            case "list":
                status, page = self._list(stored, body, "documents", "_id")
                return status, {**page, **usage}
            case "delete":
                return self._delete(stored, body, "delete_all")
        return None

    def _upsert(self, index: str, namespace: str, records: Any, size: int) -> Answer:
        if len(records) > MAX_AT_ONCE:
            return _refused(f"more than {MAX_AT_ONCE} records")
        if size > MAX_BYTES:
            return 413, {"code": 8, "message": "too large", "details": []}
        for record in records:
            fields = {name: value for name, value in record.items() if name != "_id"}
            if len(orjson.dumps(fields)) > MAX_FIELDS_BYTES or not record["_id"].isascii():
                return _refused("a record that Pinecone does not take")
        if bad := self.poison & {record["_id"] for record in records}:
            return _refused(f"poison: {bad}")
        for record in records:
            fields = dict(record)
            self.of(index, namespace)[fields.pop("_id")] = fields
        return 201, {}

    def _vectors(self, stored: dict[str, Fields], ids: list[str]) -> Any:
        found = {
            id: {"id": id, "values": [0.5], "metadata": stored[id]} for id in ids if id in stored
        }
        return {"vectors": found, "namespace": "n", "usage": {"readUnits": 1}}

    def _where(self, stored: dict[str, Fields], given: Any) -> tuple[dict[str, Fields], Any]:
        token = given.get("pagination_token") or given.get("paginationToken") or "after:"
        after, limit = token.removeprefix("after:"), given.get("limit") or 100
        matching = _matching(stored, given["filter"]) or []
        ids = sorted(id for id in matching if id > after)
        more = {"pagination": {"next": f"after:{ids[limit - 1]}"}} if len(ids) > limit else {}
        return {id: stored[id] for id in ids[:limit]}, more

    def _list(self, stored: dict[str, Fields], given: Any, items: str, name: str) -> Answer:
        prefix, limit = given.get("prefix") or "", int(given.get("limit") or 100)
        token = given.get("pagination_token") or ""
        if token and not token.startswith("after:"):
            return _refused("no such token")
        ids = sorted(
            id for id in stored if id.startswith(prefix) and id > token.removeprefix("after:")
        )
        page = {items: [{name: id} for id in ids[:limit]]}
        if len(ids) > limit:
            page["pagination"] = {"next": f"after:{ids[limit - 1]}"}  # type: ignore[assignment]
        return 200, page

    def _delete(self, stored: dict[str, Fields], body: Any, all: str) -> Answer:
        if body.get(all):
            stored.clear()
            return 200, {}
        if ids := body.get("ids"):
            if len(ids) > MAX_IDS:
                return _refused(f"more than {MAX_IDS} ids")
            for id in ids:
                stored.pop(id, None)
            return 200, {}
        matching = _matching(stored, body["filter"])
        if matching is None:
            return _refused("this upstream knows one $eq of one field")
        for id in matching:
            del stored[id]
        return 200, {"matched_records": len(matching)}

    def _stats(self, index: str) -> Any:
        namespaces = {
            name: {"vectorCount": len(stored)}
            for (where, name), stored in self._stored.items()
            if where == index
        }
        total = sum(each["vectorCount"] for each in namespaces.values())
        return {
            "namespaces": namespaces,
            "totalVectorCount": total,
            "dimension": None if index.startswith("sparse") else 4,
            "metric": "dotproduct" if index.startswith("sparse") else "cosine",
        }


def _matching(stored: dict[str, Fields], filter: Any) -> list[str] | None:
    match list(filter.items()):
        case [(field, {"$eq": value})]:
            return [id for id, fields in stored.items() if fields.get(field) == value]
    return None


def _refused(message: str) -> Answer:
    return 400, {"code": 3, "message": message, "details": []}
