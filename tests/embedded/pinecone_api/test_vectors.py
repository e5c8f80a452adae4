"""The vectors API, compared with a dictionary and brute force."""

from __future__ import annotations

import base64
import math
import random
from pathlib import Path
from typing import Any

import pytest
from pinecone import SparseValues, Vector
from pinecone.errors import ApiError, ServiceError

from service.embedded.schema import DenseField, Schema, SparseField
from tests.embedded.pinecone_api.calls import (
    BOTH,
    HYBRID,
    NS,
    SEVERAL_VECTORS,
    SPARSE,
    WORDS,
    opened,
)

CLOSE = 2e-3  # scores are of 16-bit floats at worst


def vectors(count: int, dimension: int, seed: int = 7) -> dict[str, list[float]]:
    random.seed(seed)
    return {
        f"v{number:03d}": [round(random.uniform(-1, 1), 3) for _ in range(dimension)]
        for number in range(count)
    }


def score(metric: str, one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    if metric == "dotproduct":
        return dot
    if metric == "euclidean":
        return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
    return dot / (math.hypot(*one) * math.hypot(*other))


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
async def test_query_equals_brute_force(tmp_path: Path, metric: str) -> None:
    written = vectors(60, 4)
    async with opened(tmp_path, Schema({"embedding": DenseField(4, metric)})) as index:
        await index.upsert(
            vectors=[(id, values, {"even": int(id[1:]) % 2 == 0}) for id, values in written.items()]
        )
        await index.embedded.wait_until_visible()
        question = [0.3, -0.2, 0.9, 0.1]
        for filter in (None, {"even": True}):
            chosen = [id for id in written if filter is None or int(id[1:]) % 2 == 0]
            scores = {id: score(metric, question, written[id]) for id in chosen}
            best = sorted(scores.values(), reverse=metric != "euclidean")[:10]
            answer = await index.query(top_k=10, vector=question, filter=filter)
            assert [match.score for match in answer.matches] == pytest.approx(best, abs=CLOSE)
            for match in answer.matches:
                assert match.score == pytest.approx(scores[match.id], abs=CLOSE)
                assert match.values == []
                assert match.metadata is None
        by_id = await index.query(top_k=1, id="v007", include_values=True, include_metadata=True)
        first = by_id.matches[0]
        assert first.metadata == {"even": int(first.id[1:]) % 2 == 0}
        assert first.values == pytest.approx(written[first.id])
        if metric != "dotproduct":
            assert first.id == "v007"
        assert (await index.query(top_k=5, id="nobody")).matches == []


async def test_query_namespaces_merges_rankings_for_every_metric(tmp_path: Path) -> None:
    written = vectors(20, 4)
    async with opened(tmp_path, Schema({"embedding": DenseField(4, "euclidean")})) as index:
        for number, (id, values) in enumerate(written.items()):
            await index.upsert(vectors=[(id, values)], namespace="ab"[number % 2])
        await index.embedded.wait_until_visible()
        question = [0.0, 0.0, 0.1, 0.0]
        found = await index.query_namespaces(
            vector=question, namespaces=["a", "b", "none"], metric="euclidean", top_k=4
        )
        near = sorted(written, key=lambda id: score("euclidean", question, written[id]))
        assert [match.id for match in found.matches] == near[:4]


async def test_sparse_query_equals_brute_force(tmp_path: Path) -> None:
    random.seed(3)
    written = {
        f"s{number}": {
            index: round(random.uniform(0.1, 2), 2) for index in random.sample(range(12), 3)
        }
        for number in range(40)
    }
    async with opened(tmp_path, SPARSE) as index:
        await index.upsert(
            vectors=[
                Vector(id, [], SparseValues(list(weights), list(weights.values())))
                for id, weights in written.items()
            ]
        )
        await index.embedded.wait_until_visible()
        question = {2: 1.0, 5: 0.5, 4_294_967_295: 1.0}
        answer = await index.query(
            top_k=5,
            sparse_vector={"indices": list(question), "values": list(question.values())},
            include_values=True,
        )
        scores = {
            id: sum(weights[at] * by for at, by in question.items() if at in weights)
            for id, weights in written.items()
        }
        best = sorted(scores.values(), reverse=True)[:5]
        assert [match.score for match in answer.matches] == pytest.approx(best, abs=1e-5)
        first = answer.matches[0]
        assert first.sparse_values is not None
        assert dict(
            zip(first.sparse_values.indices, first.sparse_values.values, strict=True)
        ) == pytest.approx(written[first.id])
        like = await index.query(top_k=40, id=first.id)
        own = {
            id: sum(weights[at] * by for at, by in written[first.id].items() if at in weights)
            for id, weights in written.items()
        }
        assert [match.score for match in like.matches] == pytest.approx(
            sorted((each for each in own.values() if each), reverse=True), abs=1e-5
        )
        with pytest.raises(ApiError, match="no dense field"):
            await index.query(top_k=1, vector=[1.0])


@pytest.mark.parametrize("count", [50, 1_500])
async def test_hybrid_query_adds_dense_and_sparse_scores(tmp_path: Path, count: int) -> None:
    random.seed(5)
    written = vectors(count, 4)
    weights = {id: {number % 5: random.uniform(-1, 2)} for number, id in enumerate(written)}
    async with opened(tmp_path, HYBRID) as index:
        items: list[dict[str, Any]] = [
            {
                "id": id,
                "values": values,
                "sparse_values": {
                    "indices": list(weights[id]),
                    "values": list(weights[id].values()),
                },
            }
            for id, values in written.items()
        ]
        await index.upsert(vectors=items, batch_size=500, show_progress=False)
        await index.embedded.wait_until_visible()
        question, asked = [0.5, 0.5, -0.5, 0.1], {3: 0.4, 1: 0.2}
        sparse = {"indices": list(asked), "values": list(asked.values())}
        scores = {
            id: score("dotproduct", question, values)
            + sum(weights[id].get(at, 0) * by for at, by in asked.items())
            for id, values in written.items()
        }
        best = sorted(scores.values(), reverse=True)
        for top_k in (1, 12, 2 * count):
            answer = await index.query(top_k=top_k, vector=question, sparse_vector=sparse)
            found = [match.score for match in answer.matches]
            assert found == pytest.approx(best[:top_k], abs=1e-5)
            for match in answer.matches:
                assert match.score == pytest.approx(scores[match.id], abs=1e-5)
        records = await index.search(
            namespace="__default__",
            top_k=12,
            vector={
                "values": question,
                "sparse_indices": sparse["indices"],
                "sparse_values": sparse["values"],
            },
        )
        assert [hit.score for hit in records.result.hits] == pytest.approx(best[:12], abs=1e-5)
        assert len((await index.query(top_k=1, id=next(iter(written)))).matches) == 1


async def test_hybrid_query_finds_best_sum_far_down_in_both_rankings(tmp_path: Path) -> None:
    ones = {"indices": [1], "values": [1.0]}
    items: list[dict[str, Any]] = [
        *({"id": f"d{n}", "values": [1, 0, 0, 0]} for n in range(250)),
        *({"id": f"s{n}", "sparse_values": ones} for n in range(250)),
        {
            "id": "both",
            "values": [0.75, 0, 0, 0],
            "sparse_values": {"indices": [1], "values": [0.75]},
        },
    ]
    async with opened(tmp_path, HYBRID) as index:
        await index.upsert(vectors=items)
        await index.embedded.wait_until_visible()
        answer = await index.query(top_k=1, vector=[1, 0, 0, 0], sparse_vector=ones)
        assert [(match.id, match.score) for match in answer.matches] == [("both", 1.5)]


async def test_hybrid_query_ranks_record_without_negative_score_first(tmp_path: Path) -> None:
    ones = {"indices": [1], "values": [1.0]}
    items: list[dict[str, Any]] = [
        {"id": f"b{n}", "values": [1, 0, 0, 0], "sparse_values": ones} for n in range(250)
    ]
    async with opened(tmp_path, HYBRID) as index:
        await index.upsert(vectors=[*items, {"id": "one", "values": [1.5, 0, 0, 0]}])
        await index.embedded.wait_until_visible()
        minus = {"indices": [1], "values": [-1.0]}
        answer = await index.query(top_k=1, vector=[-1, 0, 0, 0], sparse_vector=minus)
        assert [(match.id, match.score) for match in answer.matches] == [("one", -1.5)]


async def test_hybrid_query_uses_dense_score_if_scores_are_not_additive(
    tmp_path: Path,
) -> None:
    schema = Schema({"embedding": DenseField(2, "cosine"), "weights": SparseField()})
    sparse = {"indices": [1], "values": [1.0]}
    async with opened(tmp_path, schema) as index:
        await index.upsert(
            vectors=[
                {"id": "a", "values": [1, 0], "sparse_values": sparse},
                {"id": "b", "values": [1, 1], "sparse_values": sparse},
            ]
        )
        await index.embedded.wait_until_visible()
        assert [match.id for match in (await index.query(top_k=2, id="a")).matches] == ["a", "b"]
        with pytest.raises(ApiError, match="metric dotproduct"):
            await index.query(top_k=1, vector=[1, 0], sparse_vector=sparse)


async def test_every_vector_form_round_trips(tmp_path: Path) -> None:
    async with opened(tmp_path, HYBRID) as index:
        sparse = {"indices": [9, 2], "values": [0.5, 1.0]}
        response = await index.upsert(
            vectors=[
                ("pair", [1, 0, 0, 0.5]),
                ("triple", (0, 1, 0, 0), {"kind": "t", "gone": None, "list": ["a", "b"]}),
                {"id": "dict", "values": [0, 0, 1, 0], "sparse_values": sparse},
                Vector("whole", [0, 0, 0, 1], SparseValues([1], [2.0]), {"year": 2**53 + 1}),
                {"id": "sparse", "sparse_values": sparse, "metadata": {"ok": True}},
            ],
            namespace=NS,
        )
        assert response.upserted_count == 5
        fetched = await index.fetch(
            ids=["pair", "triple", "dict", "whole", "sparse", "nobody"], namespace=NS
        )
        assert list(fetched.vectors) == ["pair", "triple", "dict", "whole", "sparse"]
        assert fetched.namespace == NS
        assert fetched.vectors["pair"].values == [1, 0, 0, 0.5]
        assert fetched.vectors["pair"].metadata is None
        assert fetched.vectors["triple"].metadata == {"kind": "t", "list": ["a", "b"]}
        stored = fetched.vectors["dict"].sparse_values
        assert stored is not None
        assert dict(zip(stored.indices, stored.values, strict=True)) == {9: 0.5, 2: 1.0}
        assert fetched.vectors["whole"].metadata == {"year": 2**53 + 1}
        assert fetched.vectors["sparse"].values == []


async def test_upsert_in_batches_reports_failed_batch(tmp_path: Path) -> None:
    async with opened(tmp_path, Schema({"embedding": DenseField(2)})) as index:
        good = [(f"v{number}", [1.0, float(number)]) for number in range(25)]
        response = await index.upsert(vectors=good, batch_size=10, show_progress=False)
        assert (response.upserted_count, response.total_batch_count) == (25, 3)
        mixed = [("w0", [1.0, 0.0]), ("w1", [1.0, 0.0, 0.0])]
        response = await index.upsert(vectors=mixed, batch_size=1, show_progress=False)
        assert response.upserted_count == 1
        assert [item["id"] for item in response.failed_items] == ["w1"]


async def test_upsert_duplicate_id_keeps_last_vector(tmp_path: Path) -> None:
    async with opened(tmp_path, Schema({"embedding": DenseField(2)})) as index:
        await index.upsert(vectors=[("v", [1, 0]), ("v", [0, 1])])
        assert (await index.fetch(ids=["v"])).vectors["v"].values == [0, 1]
        assert (await index.describe_index_stats()).total_vector_count == 1


async def test_update_keeps_unnamed_fields(tmp_path: Path) -> None:
    async with opened(tmp_path, HYBRID) as index:
        for id, genre in (("a", "drama"), ("b", "drama"), ("c", "noir")):
            await index.upsert(
                vectors=[Vector(id, [1, 0, 0, 0], SparseValues([1], [1.0]), {"genre": genre})]
            )
        by_id = await index.update(id="a", values=[0, 1, 0, 0], set_metadata={"seen": True})
        assert by_id.matched_records is None
        await index.update(id="b", sparse_values={"indices": [4], "values": [0.5]})
        await index.update(id="nobody", set_metadata={"seen": True})
        drama = {"genre": {"$eq": "drama"}}
        tried = await index.update(filter=drama, set_metadata={"old": True}, dry_run=True)
        assert tried.matched_records == 2
        done = await index.update(filter=drama, set_metadata={"year": 1999, "genre": None})
        assert done.matched_records == 2
        fetched = (await index.fetch(ids=["a", "b", "c", "nobody"])).vectors
        assert fetched.keys() == {"a", "b", "c"}
        assert fetched["a"].values == [0, 1, 0, 0]
        assert fetched["a"].metadata == {"genre": "drama", "seen": True, "year": 1999}
        assert fetched["b"].sparse_values == SparseValues([4], [0.5])
        assert fetched["c"].metadata == {"genre": "noir"}
        await index.embedded.wait_until_visible()
        assert (await index.query(top_k=1, vector=[0, 1, 0, 0])).matches[0].id == "a"


async def test_update_and_delete_by_filter_of_thousands(tmp_path: Path) -> None:
    async with opened(tmp_path, Schema({"embedding": DenseField(2)})) as index:
        many = [(f"v{number}", [1, number + 1], {"old": True}) for number in range(1_500)]
        await index.upsert(vectors=many, batch_size=500, show_progress=False)
        changed = await index.update(filter={"old": True}, set_metadata={"old": False})
        assert changed.matched_records == 1_500
        await index.delete(filter={"old": False})
        assert (await index.describe_index_stats()).total_vector_count == 0


async def test_delete_by_ids_by_filter_and_all(tmp_path: Path) -> None:
    async with opened(tmp_path, Schema({"embedding": DenseField(2)})) as index:
        for space in ("a", "b"):
            await index.upsert(
                vectors=[(f"v{n}", [1, n + 1], {"n": n}) for n in range(6)], namespace=space
            )
        await index.delete(ids=["v0", "nobody"], namespace="a")
        await index.delete(filter={"n": {"$gte": 4}}, namespace="a")
        left = [item.id async for page in index.list(namespace="a") for item in page]
        assert left == ["v1", "v2", "v3"]
        await index.delete(delete_all=True, namespace="a")
        stats = await index.describe_index_stats()
        assert stats.total_vector_count == stats.namespaces["b"].vector_count == 6
        filtered = await index.describe_index_stats(filter={"n": {"$lt": 2}})
        assert filtered.total_vector_count == 2
        assert (stats.dimension, stats.metric, stats.vector_type) == (2, "cosine", "dense")


async def test_list_ids_pages(tmp_path: Path) -> None:
    ids = sorted(f"{kind}#{number}" for kind in ("doc", "do", "e") for number in range(70))
    async with opened(tmp_path, Schema({"embedding": DenseField(2)})) as index:
        await index.upsert(vectors=[(id, [1, 2]) for id in ids])
        pages = [page async for page in index.list(limit=50)]
        assert [len(page) for page in pages] == [50, 50, 50, 50, 10]
        assert [item.id for page in pages for item in page] == ids
        of_docs = [item.id async for page in index.list(prefix="doc#") for item in page]
        assert of_docs == [id for id in ids if id.startswith("doc#")]
        assert (await index.list_paginated(prefix="nothing")).vectors == []
        with pytest.raises(ApiError, match="pagination token"):
            await index.list_paginated(pagination_token="no token")


async def test_fetch_by_metadata_pages(tmp_path: Path) -> None:
    async with opened(tmp_path, Schema({"embedding": DenseField(2)})) as index:
        many = [(f"v{number}", [1, 2], {"even": number % 2 == 0}) for number in range(50)]
        await index.upsert(vectors=many)
        seen: list[str] = []
        token = None
        while True:
            page = await index.fetch_by_metadata(
                filter={"even": {"$eq": True}}, limit=10, pagination_token=token
            )
            seen += page.vectors
            assert all(vector.values == [1, 2] for vector in page.vectors.values())
            if page.pagination is None:
                break
            token = page.pagination.next
        assert sorted(seen) == sorted(f"v{number}" for number in range(0, 50, 2))
        for wrong in ("no token", base64.b64encode("ü".encode()).decode()):
            with pytest.raises(ApiError, match="pagination token"):
                await index.fetch_by_metadata(filter={"even": True}, pagination_token=wrong)


async def test_several_vector_fields_error_names_documents_api(tmp_path: Path) -> None:
    async with opened(tmp_path, SEVERAL_VECTORS) as index:
        await index.documents.upsert(
            namespace=NS, documents=[{"_id": "d", "front": [1, 0, 0, 0], "back": [0, 0, 1]}]
        )
        for call in (
            index.query(top_k=1, vector=[1, 0, 0, 0], namespace=NS),
            index.query(top_k=1, id="d", namespace=NS),
            index.upsert(vectors=[("d", [1, 0, 0, 0])], namespace=NS),
            index.fetch(ids=["d"], namespace=NS),
        ):
            with pytest.raises(ApiError, match=r"front, back.*documents API") as caught:
                await call
            assert caught.value.status_code == 400


async def test_text_index_accepts_vectors_of_same_dimension(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        ones = [1.0] * 32
        await index.upsert(vectors=[("raw", ones, {"chunk_text": "apple pie"})], namespace=NS)
        await index.upsert_records(
            namespace=NS, records=[{"id": "text", "chunk_text": "apple tart"}]
        )
        await index.embedded.wait_until_visible()
        assert (await index.query(top_k=1, vector=ones, namespace=NS)).matches[0].id == "raw"
        await index.update(id="raw", set_metadata={"chunk_text": "plum"}, namespace=NS)
        await index.embedded.wait_until_visible()
        (fetched,) = (await index.fetch(ids=["raw"], namespace=NS)).vectors.values()
        assert fetched.values != ones
        found = await index.search(namespace=NS, top_k=1, inputs={"text": "plum"})
        assert found.result.hits[0].id == "raw"


async def test_text_only_record_can_be_fetched_but_not_queried(tmp_path: Path) -> None:
    async with opened(tmp_path, WORDS) as index:
        await index.upsert_records(namespace=NS, records=[{"_id": "a", "chunk_text": "plum"}])
        (fetched,) = (await index.fetch(ids=["a"], namespace=NS)).vectors.values()
        assert (fetched.values, fetched.metadata) == ([], {"chunk_text": "plum"})
        with pytest.raises(ApiError, match="no vectors"):
            await index.query(top_k=1, id="a", namespace=NS)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"values": [1, 2, 3]}, "dimension 3 does not match the dimension of the index 4"),
        ({"values": [0, 0, 0, 0]}, "not zero"),
        ({"values": [1e39, 0, 0, 0]}, "32-bit"),
        ({"values": [1, 0, 0, 0], "metadata": {"$a": 1}}, "can't start with \\$"),
        ({"values": [1, 0, 0, 0], "metadata": {"a": "x" * 41_000}}, "40960 are allowed"),
        ({"values": [1, 0, 0, 0], "metadata": {"embedding": "x"}}, "takes a vector only"),
        ({"sparse_values": {"indices": [1, 1], "values": [1.0, 1.0]}}, "must be unique"),
        ({"sparse_values": {"indices": [-1], "values": [1.0]}}, ">= 0"),
        ({"sparse_values": {"indices": [], "values": []}}, "length >= 1"),
        ({"id": "x" * 513, "values": [1, 0, 0, 0]}, "longer than 512"),
    ],
)
async def test_upsert_rejects_invalid_vector_with_reason(
    tmp_path: Path, item: dict[str, Any], reason: str
) -> None:
    async with opened(tmp_path, HYBRID) as index:
        with pytest.raises(ApiError, match=reason) as caught:
            await index.upsert(vectors=[("good", [1, 0, 0, 0]), {"id": "bad", **item}])
        assert caught.value.status_code == 400
        assert (await index.describe_index_stats()).total_vector_count == 0


async def test_query_rejects_invalid_request_with_reason(tmp_path: Path) -> None:
    async with opened(tmp_path, Schema({"embedding": DenseField(2, "cosine")})) as index:
        good: dict[str, Any] = {"top_k": 1, "vector": [1, 0]}
        for asked, reason in (
            ({"vector": [1, 0, 0]}, "dimension 3"),
            ({"vector": [0, 0]}, "not zero"),
            ({"filter": {"embedding": {"$exists": True}}}, "vectors"),
            ({"filter": {"$or": [{"a": 1}, {"$and": [{"embedding": 1}]}]}}, "vectors"),
            ({"filter": {"a": {"$near": 1}}}, "not an operator"),
            ({"filter": {"a": {"$match_all": "x"}}}, "not a full-text field"),
            ({"sparse_vector": {"indices": [1], "values": [1.0]}}, "no sparse field"),
        ):
            with pytest.raises(ApiError, match=reason):
                await index.query(**{**good, **asked})
        with pytest.raises(ApiError, match="can't select"):
            await index.delete(filter={"$or": [{"b": 1}, {"a": {"$match_all": "x"}}]})


async def test_bulk_imports_are_rejected_with_reason(tmp_path: Path) -> None:
    async with opened(tmp_path, BOTH) as index:
        for call in (
            index.start_import("s3://bucket"),
            index.describe_import("1"),
            index.cancel_import("1"),
            index.list_imports_paginated(),
        ):
            with pytest.raises(ServiceError, match="imports nothing") as caught:
                await call
            assert caught.value.status_code == 501
