"""The records that the fake upstream searches, and its normal responses.

The dense index scores by shared letter pairs and the sparse one by shared words, so that the two
legs of a cascade disagree.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

RECORDS = {
    "cat": "The cat sleeps on the warm windowsill all afternoon",
    "dog": "A dog barks at the postman every morning",
    "car": "The car needs new tires before the winter",
    "boat": "A small boat crossed the lake at dawn",
    "tea": "Green tea tastes best a little below boiling",
    "bread": "Sourdough bread rises slowly overnight",
    "star": "The star faded before anyone could name it",
    "moon": "The moon pulls the tides twice a day",
    "code": "Error code E-4711 means that the valve is stuck",
    "rain": "Heavy rain is expected before the weekend",
    "road": "The road over the pass is closed in winter",
    "song": "She wrote the song in one afternoon",
}


def fields(id: str) -> dict[str, Any]:
    """The fields of a record."""
    return {"chunk_text": RECORDS[id], "length": len(RECORDS[id]), "kind": id[0]}


def dense_score(query: str, text: str) -> float:
    """Shared letter pairs, from 0 to 1."""
    pairs = [{word[i : i + 2] for i in range(len(word) - 1)} for word in (query, text)]
    union = pairs[0] | pairs[1]
    return len(pairs[0] & pairs[1]) / len(union) if union else 0.0


def sparse_score(query: str, text: str) -> float:
    """The number of shared words."""
    return float(len(set(query.lower().split()) & set(text.lower().split())))


def rank(index: str, query: str, top_k: int) -> list[tuple[str, float]]:
    """The best records of an index; a sparse one finds only records that share a word."""
    score = sparse_score if index.startswith("sparse") else dense_score
    scored = [(id, score(query, text)) for id, text in RECORDS.items()]
    scored = [(id, value) for id, value in scored if value or score is dense_score]
    return sorted(scored, key=lambda pair: -pair[1])[:top_k]


def rerank_score(query: str, text: str) -> float:
    """The score of the fake reranker, from 0 to 1: shared words, then letters to break ties."""
    return min(1.0, sparse_score(query, text) / 10 + dense_score(query, text) / 100)


def answer(index: str, path: str, body: Any) -> tuple[int, Any]:
    """Status and JSON for one request to the index (or `control`) at `path`."""
    if index == "control":
        return _control(path, body)
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "records" and parts[-1] == "search":
        return 200, _records_search(index, body)
    if parts[0] == "namespaces" and parts[-2:] == ["documents", "search"]:
        return 200, _documents_search(parts[1], body)
    return 404, {"code": 5, "message": "no such path", "details": []}


def _records_search(index: str, body: Any) -> Any:
    query = body["query"]
    found = rank(index, query["inputs"]["text"], query["top_k"])
    usage = {"read_units": 1, "embed_total_tokens": 3}
    if rerank := body.get("rerank"):
        text = query["inputs"]["text"]
        found = sorted(
            ((id, rerank_score(text, RECORDS[id])) for id, _ in found), key=lambda pair: -pair[1]
        )[: rerank.get("top_n", query["top_k"])]
        usage["rerank_units"] = 1
    wanted = body.get("fields")
    hits = [
        {"_id": id, "_score": score, "fields": _chosen(fields(id), wanted)} for id, score in found
    ]
    return {"result": {"hits": hits}, "usage": usage}


def _documents_search(namespace: str, body: Any) -> Any:
    (clause,) = body["score_by"]
    index = "dense" if clause["type"] == "embed" else "sparse"
    wanted = body.get("include_fields") or []
    matches = [
        {"_id": id, "_score": score, **_chosen(fields(id), wanted)}
        for id, score in rank(index, clause["query"], body["top_k"])
    ]
    return {"matches": matches, "namespace": namespace, "usage": {"read_units": 2}}


def _chosen(values: dict[str, Any], wanted: list[str] | None) -> dict[str, Any]:
    if wanted is None or "*" in wanted:
        return values
    return {name: value for name, value in values.items() if name in wanted}


def _control(path: str, body: Any) -> tuple[int, Any]:
    if path == "/rerank":
        return 200, _rerank(body)
    name = path.removeprefix("/indexes/")
    if path.startswith("/indexes/") and name in SCHEMAS:
        return 200, {
            "name": name,
            "host": f"HOST/{name}",  # the server puts its own address here
            "status": {"ready": True, "state": "Ready"},
            "deletion_protection": "disabled",
            "deployment": {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"},
            "schema": {"fields": SCHEMAS[name]},
        }
    return 404, {"error": {"code": "NOT_FOUND", "message": f"{name} not found"}, "status": 404}


def _rerank(body: Any) -> Any:
    (field,) = body["rank_fields"]
    scored = [
        {"index": index, "score": rerank_score(body["query"], document[field])}
        for index, document in enumerate(body["documents"])
    ]
    scored.sort(key=lambda ranked: -ranked["score"])
    return {"model": body["model"], "data": scored, "usage": {"rerank_units": 1}}


def _semantic_text() -> dict[str, Any]:
    return {"chunk_text": {"type": "semantic_text", "model": "any"}}


SCHEMAS: dict[str, Any] = {
    "dense": _semantic_text(),
    "sparse": _semantic_text(),
    "documents": {
        "chunk_text": {
            "type": "string",
            "embed": {"model": "any"},
            "sparse_embed": {"model": "any"},
            "full_text_search": {},
        },
        "kind": {"type": "string", "filterable": True},
    },
    "wordy": {
        "title": {"type": "string", "full_text_search": {}},
        "chunk_text": {"type": "string", "embed": {"model": "any"}, "full_text_search": {}},
    },
}
