"""A state machine of hypothesis that compares the embedded index with a model.

All operations go through the client that the service uses. A crash is simulated by copying the
folder of the open index, and opening the copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pinecone.errors import ApiError

from service.embedded.client import EmbeddedAsyncIndex, opened_client
from tests.campaigns.model import (
    EMBEDDER,
    SPACES,
    WORDED,
    WORDS,
    Fields,
    Model,
    has_a_word,
    holds,
    meaning,
    pieces,
    product,
    schema,
)

T = TypeVar("T")
MEMORY = Path("/dev/shm")  # noqa: S108 - a disk without waiting, where there is one
KINDS = ("lexical", "dense", "sparse", "corpus")
TOLERANCE = 4e-3  # of scores with 16-bit vectors
EXACT_TOLERANCE = 1e-4
BAD_REQUEST = 400

some_spaces = st.sampled_from(SPACES)
some_ids = st.sampled_from([f"{group}-{i}" for group in "xy" for i in range(5)])
some_texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
some_words = st.lists(st.sampled_from((*WORDS, "unheard")), min_size=1, max_size=3).map(" ".join)
some_numbers = st.sampled_from([-1, 0, 1, 2, 2.5, 1e12])
some_tags = st.sampled_from(["red", "blue", "a tag that is longer than what is kept as it is"])
some_vectors = st.lists(st.integers(-2, 2).map(float), min_size=4, max_size=4).filter(any)
some_sparse = st.dictionaries(
    st.sampled_from([0, 1, 7, 2**32 - 1]),
    st.sampled_from([-1.5, 0.25, 1.0, 3.0]),
    min_size=1,
    max_size=3,
)
others = {
    "tag": some_tags,
    "n": some_numbers,
    "b": st.booleans(),
    "list": st.lists(some_tags, max_size=2, unique=True),
    "any": st.one_of(some_tags, some_numbers, st.booleans()),
}
optional: dict[str, st.SearchStrategy[Any]] = {
    **others,
    "title": some_texts,
    "s": some_sparse.map(
        lambda each: {"indices": sorted(each), "values": [each[index] for index in sorted(each)]}
    ),
}
some_fields = st.fixed_dictionaries({"body": some_texts, "v": some_vectors}, optional=optional)
some_updates = st.fixed_dictionaries(
    {}, optional={"body": some_texts, "v": some_vectors, **optional}
)
some_removed = st.lists(st.sampled_from(sorted(optional)), max_size=2, unique=True)
some_patches = (
    st.tuples(some_updates, some_removed)
    .map(lambda patch: (patch[0], [name for name in patch[1] if name not in patch[0]]))
    .filter(any)
)

some_values = st.one_of(some_tags, some_numbers, st.booleans())
some_listed = st.lists(st.one_of(some_tags, some_numbers), max_size=3)
some_conditions = st.one_of(
    some_values,
    st.fixed_dictionaries({"$eq": some_values}),
    st.fixed_dictionaries({"$ne": some_values}),
    st.fixed_dictionaries({"$in": some_listed}),
    st.fixed_dictionaries({"$nin": some_listed}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.dictionaries(
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), some_numbers, min_size=1, max_size=2
    ),
)
some_matches = st.dictionaries(
    st.sampled_from(["$match_any", "$match_all", "$match_phrase"]),
    some_words,
    min_size=1,
    max_size=2,
)
some_comparisons = st.one_of(
    st.dictionaries(st.sampled_from([*others, "missing"]), some_conditions, min_size=1, max_size=2),
    st.dictionaries(
        st.sampled_from(WORDED),
        st.fixed_dictionaries({"$exists": st.booleans()}),
        min_size=1,
        max_size=1,
    ),
)
some_wordings = st.dictionaries(st.sampled_from(WORDED), some_matches, min_size=1, max_size=1)


def _combined(conditions: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        conditions,
        lambda inner: st.dictionaries(
            st.sampled_from(["$and", "$or"]),
            st.lists(inner, min_size=1, max_size=2),
            min_size=1,
            max_size=1,
        ),
        max_leaves=3,
    )


some_filters = _combined(st.one_of(some_comparisons, some_wordings))
some_selectors = _combined(some_comparisons)  # writes allow no text operators
maybe_filters = st.one_of(st.none(), some_filters)
some_counts = st.sampled_from([1, 2, 3, 5, 10, 50])


class IndexMachine(RuleBasedStateMachine):
    """The rules are operations of users, restarts, crashes and damaged files."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._base = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self._data = self._base / "0"
        self._copies = 0

    @initialize(metric=st.sampled_from(["cosine", "dotproduct", "euclidean"]))
    def begin(self, metric: str) -> None:
        self.did("sequences")
        self.model = Model(metric)
        self._open()

    def teardown(self) -> None:
        try:
            if hasattr(self, "index"):  # unless opening failed
                try:
                    self._agree()
                finally:
                    self._close()
        finally:
            self._runner.close()
            shutil.rmtree(self._base)

    # --- writing -------------------------------------------------------------------------------

    @rule(
        space=some_spaces, documents=st.dictionaries(some_ids, some_fields, min_size=1, max_size=6)
    )
    def upsert(self, space: str, documents: dict[str, Fields]) -> None:
        given = [{"_id": id, **fields} for id, fields in documents.items()]
        self._do(self.index.documents.upsert(namespace=space, documents=given))
        self.model.spaces[space].update(documents)

    @rule(
        space=some_spaces,
        writes=st.lists(st.tuples(some_ids, some_fields), min_size=2, max_size=5),
        cancelled=st.integers(0, 4),
        turns=st.integers(0, 3),
    )
    def upsert_at_once(
        self, space: str, writes: list[tuple[str, Fields]], cancelled: int, turns: int
    ) -> None:
        """Concurrent upserts, one of them cancelled, take effect one by one in some order.

        So any of them may be the last of its id. The cancelled one may not have been written.
        """
        self._do(self._at_once(space, writes, cancelled, turns))
        completed = {id for at, (id, _) in enumerate(writes) if at != cancelled}
        candidates: dict[str, list[Fields | None]] = {}
        for id, fields in writes:
            unchanged = [] if id in completed else [self.model.spaces[space].get(id)]
            candidates.setdefault(id, unchanged).append(fields)
        found = self._fetched(space, list(candidates))
        for id, possible in candidates.items():
            assert found.get(id) in possible
            self._set(space, id, found.get(id))

    async def _at_once(
        self, space: str, writes: list[tuple[str, Fields]], cancelled: int, turns: int
    ) -> None:
        tasks = [
            asyncio.ensure_future(
                self.index.documents.upsert(namespace=space, documents=[{"_id": id, **fields}])
            )
            for id, fields in writes
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        if cancelled < len(tasks):
            tasks[cancelled].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for at, outcome in enumerate(outcomes):
            assert not isinstance(outcome, Exception), outcome
            assert at == cancelled or not isinstance(outcome, BaseException)
        # A cancelled upsert is written, if ever, before this deletion.
        await self.index.documents.delete(namespace=space, ids=["no-such-id"])

    @rule(space=some_spaces, id=some_ids, fields=some_fields)
    def upsert_invalid(self, space: str, id: str, fields: Fields) -> None:
        bad = [{"_id": "good", **fields}, {"_id": id, **fields, "v": [1.0]}]
        self._refused(self.index.documents.upsert(namespace=space, documents=bad))
        assert "good" not in self._fetched(space, ["good"])

    @rule(
        space=some_spaces,
        patches=st.dictionaries(some_ids, some_patches, min_size=1, max_size=4),
    )
    def update(self, space: str, patches: dict[str, tuple[Fields, list[str]]]) -> None:
        given = [
            {"_id": id, **fresh, "_remove_fields": removed}
            for id, (fresh, removed) in patches.items()
        ]
        self._do(self.index.documents.update(namespace=space, documents=given))
        for id in self.model.spaces[space].keys() & patches.keys():
            self._patch(space, id, *patches[id])

    @rule(space=some_spaces, filter=some_selectors, patch=some_patches)
    def update_where(
        self, space: str, filter: dict[str, Any], patch: tuple[Fields, list[str]]
    ) -> None:
        fresh, removed = patch
        answer = self._do(
            self.index.documents.update(
                namespace=space, filter=filter, set_fields=fresh, remove_fields=removed
            )
        )
        found = self.model.where(space, filter)
        for id in found:
            self._patch(space, id, fresh, removed)
        assert answer.matched_records == len(found)

    def _patch(self, space: str, id: str, fresh: Fields, removed: list[str]) -> None:
        whole = {**self.model.spaces[space][id], **fresh}
        left = {name: value for name, value in whole.items() if name not in removed}
        self.model.spaces[space][id] = left

    @rule(space=some_spaces, ids=st.lists(some_ids, min_size=1, max_size=4, unique=True))
    def delete(self, space: str, ids: list[str]) -> None:
        self._do(self.index.documents.delete(namespace=space, ids=ids))
        for id in self.model.spaces[space].keys() & set(ids):
            del self.model.spaces[space][id]

    @rule(space=some_spaces, filter=some_selectors)
    def delete_where(self, space: str, filter: dict[str, Any]) -> None:
        answer = self._do(self.index.documents.delete(namespace=space, filter=filter))
        found = self.model.where(space, filter)
        assert answer.matched_records == len(found)
        for id in found:
            del self.model.spaces[space][id]

    @rule(space=some_spaces)
    def delete_all(self, space: str) -> None:
        self._do(self.index.documents.delete(namespace=space, delete_all=True))
        self.model.spaces[space].clear()

    # --- what happens to it --------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self._close()
        self._open()

    @rule()
    def crash(self) -> None:
        """Crash: the files of the views may be incomplete."""
        self._copies += 1
        copied = self._base / str(self._copies)
        _copy(self._data, copied)
        self._close()
        shutil.rmtree(self._data)
        self._data = copied
        self._open()

    @rule(kind=st.sampled_from(KINDS))
    def delete_view(self, kind: str) -> None:
        self._close()
        folder = self._data / "records" / kind
        if folder.exists():
            shutil.rmtree(folder)
        self._open()

    @rule(pick=st.integers(0, 1000), harm=st.sampled_from(["flip", "cut", "empty", "remove"]))
    def damage_view(self, pick: int, harm: str) -> None:
        self._close()
        folders = [self._data / "records" / kind for kind in KINDS]
        files = sorted(
            each
            for folder in folders
            for each in folder.rglob("*")
            if each.is_file() and not each.name.startswith(".") and each.stat().st_size
        )
        if files:
            _harm(files[pick % len(files)], harm, pick)
        self._open()

    @rule(
        space=some_spaces,
        documents=st.dictionaries(some_ids, some_fields, min_size=1, max_size=3),
        crashed=st.booleans(),
    )
    def restore_backup(self, space: str, documents: dict[str, Fields], crashed: bool) -> None:
        """Restore a backup of the records only: the views are newer.

        A backup that never had a record is refused beside views that have some.
        """
        if self.index.embedded.store.last_seq() == 0:
            self.upsert(space, {"first": next(iter(documents.values()))})
        self._close()
        kept, model = self._base / "kept", copy.deepcopy(self.model)
        kept.mkdir()
        for file in (self._data / "records").glob("records.db*"):
            shutil.copy(file, kept)
        self._open()
        self.upsert(space, documents)
        self._close()
        for file in (self._data / "records").glob("records.db*"):
            file.unlink()
        for file in kept.iterdir():
            shutil.move(file, self._data / "records")
        kept.rmdir()
        self.model = model
        self._open()
        if crashed:
            self.crash()

    # --- looking -------------------------------------------------------------------------------

    @rule(space=some_spaces, query=some_vectors, top_k=some_counts, filter=maybe_filters)
    def search_by_vector(
        self, space: str, query: list[float], top_k: int, filter: dict[str, Any] | None
    ) -> None:
        clause = {"type": "dense_vector", "field": "v", "values": query}
        sign = -1 if self.model.metric == "euclidean" else 1
        found = self._search(space, clause, top_k, filter)
        self._check(space, found, self.model.near(query), top_k, filter, EXACT_TOLERANCE, sign)

    @rule(space=some_spaces, query=some_sparse, top_k=some_counts, filter=maybe_filters)
    def search_by_sparse_vector(
        self, space: str, query: dict[int, float], top_k: int, filter: dict[str, Any] | None
    ) -> None:
        values = {"indices": list(query), "values": list(query.values())}
        clause = {"type": "sparse_vector", "field": "s", "sparse_values": values}
        found = self._search(space, clause, top_k, filter)
        self._check(space, found, product(query), top_k, filter, EXACT_TOLERANCE)

    @rule(space=some_spaces, query=some_texts.filter(bool), top_k=some_counts, filter=maybe_filters)
    def search_by_meaning(
        self, space: str, query: str, top_k: int, filter: dict[str, Any] | None
    ) -> None:
        clause = {"type": "embed", "field": "body", "query": query}
        found = self._search(space, clause, top_k, filter)
        self._check(space, found, meaning(query), top_k, filter, TOLERANCE)

    @rule(
        space=some_spaces,
        query=some_words,
        names=st.lists(st.sampled_from(WORDED), min_size=1, unique=True),
        top_k=some_counts,
        filter=maybe_filters,
    )
    def search_by_words(
        self, space: str, query: str, names: list[str], top_k: int, filter: dict[str, Any] | None
    ) -> None:
        """Check which documents are found, and that a filter changes no score; not BM25 itself."""
        clause = {"type": "text", "fields": names, "query": query}
        every = self._search(space, clause, 50, None)
        there = self.model.spaces[space]
        assert {id for id, _ in every} == {
            id for id, fields in there.items() if has_a_word(query, names, fields)
        }
        scores = [score for _, score in every]
        assert scores == sorted(scores, reverse=True)
        assert all(score > 0 for score in scores)
        by_text: dict[tuple[str, ...], float] = {}
        for id, score in every:
            said = tuple(there[id].get(name, "") for name in names)
            assert by_text.setdefault(said, score) == score, "the same words, another score"
        left = [pair for pair in every if not filter or holds(filter, there[pair[0]])]
        assert self._search(space, clause, top_k, filter) == left[:top_k]

    @rule(space=some_spaces, ids=st.lists(some_ids, min_size=1, max_size=4, unique=True))
    def fetch(self, space: str, ids: list[str]) -> None:
        there = self.model.spaces[space]
        assert self._fetched(space, ids) == {id: there[id] for id in ids if id in there}

    @rule(space=some_spaces, filter=some_filters, limit=st.integers(1, 4))
    def fetch_where(self, space: str, filter: dict[str, Any], limit: int) -> None:
        """Page by page, just after whatever was written."""
        found: dict[str, Fields] = {}
        token = None
        while True:
            answer = self._do(
                self.index.documents.fetch(
                    namespace=space, filter=filter, limit=limit, pagination_token=token
                )
            )
            page = {id: _fields(each) for id, each in answer.documents.items()}
            assert not found.keys() & page.keys()
            assert len(page) <= limit
            found.update(page)
            token = answer.pagination.next if answer.pagination else None
            if token is None:
                break
        assert found == self.model.where(space, filter)

    @rule(
        space=some_spaces,
        prefix=st.sampled_from(["", "x", "x-", "y-3", "z"]),
        limit=st.integers(1, 4),
    )
    def list_ids(self, space: str, prefix: str, limit: int) -> None:
        async def listed() -> list[str]:
            paginator = self.index.documents.list(namespace=space, prefix=prefix, limit=limit)
            return [each.id async for each in paginator]

        there = self.model.spaces[space]
        assert self._do(listed()) == sorted(id for id in there if id.startswith(prefix))

    @rule()
    def agree(self) -> None:
        self._agree()

    # --- how -----------------------------------------------------------------------------------

    def _agree(self) -> None:
        """Every view by itself holds what the dictionary holds."""
        self._show()
        index, model = self.index.embedded, self.model
        total = sum(model.counts().values())
        assert index.views.followed.failures() == {}
        stats = self._do(self.index.describe_index_stats())
        assert {
            name: each.vector_count for name, each in stats.namespaces.items()
        } == model.counts()
        assert index.store.namespace_counts() == model.counts()
        assert len(index.views.dense["v"].index) == total
        assert len(index.views.dense["body"].index) == sum(bool(body) for body in model.bodies())
        everyone = [each for there in model.spaces.values() for each in there.values()]
        assert len(index.views.sparse["s"].index) == sum("s" in each for each in everyone)
        corpus = index.views.corpora["body"].corpus
        assert corpus.texts == total
        for word in WORDS:
            seen = corpus.frequencies(pieces(word))
            assert seen.tolist() == [sum(word in body.split() for body in model.bodies())]
        for space in SPACES:
            found = self._search(space, {"type": "text", "fields": list(WORDED), "query": ALL}, 50)
            assert {id for id, _ in found} == {
                id for id, each in model.spaces[space].items() if has_a_word(ALL, WORDED, each)
            }
            ids = list(model.spaces[space])
            if ids:
                assert self._fetched(space, ids) == model.spaces[space]

    def _check(
        self,
        space: str,
        found: Sequence[tuple[str, float]],
        scored: Callable[[Fields], float | None],
        top_k: int,
        filter: dict[str, Any] | None,
        tolerance: float,
        sign: int = 1,
    ) -> None:
        """Check that the best are found, in order; ties may be in any order."""
        every = {id: scored(fields) for id, fields in self.model.where(space, filter).items()}
        expected = {id: score for id, score in every.items() if score is not None}
        ids = [id for id, _ in found]
        scores = [sign * score for _, score in found]
        assert len(set(ids)) == len(ids) == min(top_k, len(expected))
        assert scores == sorted(scores, reverse=True)
        for id, score in zip(ids, scores, strict=True):
            assert abs(score - expected[id]) <= tolerance * max(1, abs(score))
        left = [score for id, score in expected.items() if id not in ids]
        if left and scores:
            assert max(left) <= scores[-1] + tolerance * max(1, abs(scores[-1]))

    def _search(
        self,
        space: str,
        clause: Mapping[str, Any],
        top_k: int,
        filter: dict[str, Any] | None = None,
    ) -> list[tuple[str, float]]:
        self._show()
        answer = self._do(
            self.index.documents.search(
                namespace=space, score_by=[clause], top_k=top_k, filter=filter
            )
        )
        return [(each.id, each.score or 0.0) for each in answer.matches]

    def _fetched(self, space: str, ids: list[str]) -> dict[str, Fields]:
        answer = self._do(self.index.documents.fetch(namespace=space, ids=ids))
        return {id: _fields(each) for id, each in answer.documents.items()}

    def _set(self, space: str, id: str, fields: Fields | None) -> None:
        if fields is None:
            self.model.spaces[space].pop(id, None)
        else:
            self.model.spaces[space][id] = fields

    def _show(self) -> None:
        self._do(self.index.embedded.wait_until_visible())

    def _refused(self, asked: Coroutine[Any, Any, Any]) -> None:
        with pytest.raises(ApiError) as refused:
            self._do(asked)
        assert refused.value.status_code == BAD_REQUEST

    def did(self, what: str) -> None:
        """Overridden to count actions."""

    def _open(self) -> None:
        self.did("openings")
        self._exits = contextlib.AsyncExitStack()
        opening = opened_client(self._data, "records", schema(self.model.metric), EMBEDDER)
        self.index: EmbeddedAsyncIndex = self._do(self._exits.enter_async_context(opening))

    def _close(self) -> None:
        self._do(self._exits.aclose())

    def _do(self, call: Coroutine[Any, Any, T]) -> T:
        self.did("calls")
        return self._runner.run(call)


ALL = " ".join(WORDS)


def _fields(document: Any) -> Fields:
    return {name: value for name, value in document.to_dict().items() if not name.startswith("_")}


def _copy(source: Path, target: Path) -> None:
    """Copy a folder in use; a file may vanish while it is copied."""
    for folder, _, files in os.walk(source):
        there = target / Path(folder).relative_to(source)
        there.mkdir(parents=True)
        for file in sorted(files):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(Path(folder) / file, there / file)


def _harm(file: Path, harm: str, pick: int) -> None:
    content = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "cut":
        file.write_bytes(content[: pick % len(content)])
    else:
        content[pick * 7919 % len(content)] ^= 1 << pick % 8
        file.write_bytes(content)
