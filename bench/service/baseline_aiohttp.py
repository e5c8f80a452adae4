"""The baseline with client 6.0.2, over aiohttp: `python -m bench.service.baseline_aiohttp`.

It runs in a virtual environment of its own, with another version of `pinecone`.
"""

from __future__ import annotations

import os
from typing import Any

import pinecone

from bench.service.baseline import FIELDS, NAMESPACE, TOP_K, Record, serve

pinecone_6: Any = pinecone  # mypy sees the current client


def open_index(host: str) -> Any:
    client = pinecone_6.Pinecone(api_key=os.environ["PINECONE_API_KEY"])
    return client.IndexAsyncio(host=host)


async def search(index: Any, text: str, rerank: dict[str, Any] | None) -> list[Record]:
    found = await index.search(
        namespace=NAMESPACE,
        query={"inputs": {"text": text}, "top_k": TOP_K},
        rerank=rerank,
        fields=FIELDS,
    )
    return [
        {"_id": hit["_id"], "score": hit["_score"], "chunk_text": hit["fields"]["chunk_text"]}
        for hit in found.result.hits
    ]


if __name__ == "__main__":
    serve(open_index, search)
