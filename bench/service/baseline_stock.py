"""The baseline with the current client: `python -m bench.service.baseline_stock`."""

from __future__ import annotations

import os
from typing import Any

from pinecone import AsyncIndex

from bench.service.baseline import FIELDS, NAMESPACE, TOP_K, Record, serve


def open_index(host: str) -> AsyncIndex:
    return AsyncIndex(host=host, api_key=os.environ["PINECONE_API_KEY"])


async def search(index: AsyncIndex, text: str, rerank: dict[str, Any] | None) -> list[Record]:
    found = await index.search(
        namespace=NAMESPACE, top_k=TOP_K, inputs={"text": text}, fields=FIELDS, rerank=rerank
    )
    return [
        {"_id": hit.id_, "score": hit.score_, "chunk_text": hit.fields["chunk_text"]}
        for hit in found.result.hits
    ]


if __name__ == "__main__":
    serve(open_index, search)
