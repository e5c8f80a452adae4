"""Sparse index: search compared with brute force, and checkpoints."""

from __future__ import annotations

import math
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from service.embedded.vectors.sparse import SparseIndex, pack, unpack

SparseVector = dict[int, float]

# Multiples of an eighth have exact products and sums, so that equal scores are bit-identical.
sparse_vectors = st.dictionaries(
    st.integers(0, 12) | st.just(2**32 - 1), st.integers(-16, 16).map(lambda n: n / 8), max_size=6
)
changes = st.lists(
    st.tuples(st.dictionaries(st.integers(1, 60), sparse_vectors), st.sets(st.integers(1, 60))),
    min_size=1,
    max_size=8,
)


def packed(vector: SparseVector) -> bytes:
    return pack(list(vector), list(vector.values()))


def brute_force(
    documents: dict[int, SparseVector], query: SparseVector, k: int, candidates: set[int] | None
) -> list[tuple[int, float]]:
    found = [
        (docno, sum(value * vector[index] for index, value in query.items() if index in vector))
        for docno, vector in documents.items()
        if vector.keys() & query.keys() and (candidates is None or docno in candidates)
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]


def search_results(
    view: SparseIndex, query: SparseVector, k: int, candidates: set[int] | None = None
) -> list[tuple[int, float]]:
    chosen = None if candidates is None else BitMap(candidates)
    return view.search(list(query), list(query.values()), k, chosen)


@settings(max_examples=150, deadline=None)
@given(
    steps=changes,
    query=sparse_vectors,
    k=st.integers(1, 70),
    candidates=st.none() | st.sets(st.integers(1, 70)),
)
def test_search_after_any_changes_equals_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[dict[int, SparseVector], set[int]]],
    query: SparseVector,
    k: int,
    candidates: set[int] | None,
) -> None:
    folder = tmp_path_factory.mktemp("sparse")
    view = SparseIndex(folder)
    documents: dict[int, SparseVector] = {}
    for added, removed in steps:
        new = {docno: v for docno, v in added.items() if docno not in documents or docno in removed}
        for _ in range(2):
            view.apply([(docno, packed(vector)) for docno, vector in new.items()], removed)
        documents = {docno: v for docno, v in documents.items() if docno not in removed} | new
    assert len(view) == len(documents)
    assert search_results(view, query, k, candidates) == brute_force(
        documents, query, k, candidates
    )
    view.save(5)
    again = SparseIndex(folder)
    assert again.load()
    assert search_results(again, query, k, candidates) == brute_force(
        documents, query, k, candidates
    )
    assert len(again) == len(documents)


def test_search_after_many_batches_equals_brute_force(tmp_path: Path) -> None:
    chance = random.Random(3)
    documents = {
        docno: {chance.randrange(200): chance.randrange(-40, 40) / 8 for _ in range(10)}
        for docno in range(1, 5001)
    }
    view = SparseIndex(tmp_path)
    view.apply([(docno, packed(vector)) for docno, vector in documents.items()], [])
    for start in range(1, 4000, 500):
        removed = range(start, start + 400)
        view.apply([], removed)
        for docno in removed:
            del documents[docno]
    for _ in range(20):
        query = {chance.randrange(200): chance.randrange(-40, 40) / 8 for _ in range(20)}
        candidates = set(chance.sample(range(1, 5001), 2000))
        assert search_results(view, query, 30) == brute_force(documents, query, 30, None)
        assert search_results(view, query, 30, candidates) == brute_force(
            documents, query, 30, candidates
        )
    assert len(view) == len(documents)


def test_search_finds_only_documents_with_common_index(tmp_path: Path) -> None:
    view = SparseIndex(tmp_path)
    vectors = [{1: 1.0, 2: -1.0}, {3: 5.0}, {}, {1: -2.0}]
    view.apply([(docno, packed(vector)) for docno, vector in enumerate(vectors, 1)], [])
    assert search_results(view, {1: 1.0, 2: 1.0}, 10) == [(1, 0.0), (4, -2.0)]
    assert search_results(view, {9: 1.0}, 10) == []
    assert search_results(view, {}, 10) == []
    assert search_results(view, {1: 1.0}, 10, set()) == []
    assert len(view) == 4


@given(sparse_vectors)
def test_unpack_returns_packed_vector_by_index(vector: SparseVector) -> None:
    indices, values = unpack(packed(vector))
    assert list(zip(indices.tolist(), values.tolist(), strict=True)) == sorted(vector.items())


@pytest.mark.parametrize(
    ("indices", "values", "why"),
    [
        ([1, 2], [1.0], "as many"),
        ([2, 1, 2], [1.0, 2.0, 3.0], "twice"),
        ([-1], [1.0], "from 0"),
        ([2**32], [1.0], "from 0"),
        ([2**70], [1.0], "integers"),
        ([1], [math.nan], "finite"),
        ([1], [-math.inf], "finite"),
        ([1], [1e39], "finite"),
        ([[1]], [1.0], "integers"),
        ([1.5], [1.0], "integers"),
        (["x"], [1.0], "integers"),
        ([1], ["1.0"], "and numbers"),
        ([1], [2**80], "and numbers"),
    ],
)
def test_pack_rejects_invalid_vector(indices: list[int], values: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        pack(indices, values)


@pytest.mark.parametrize("raw", [b"1234567", bytes(16), packed({1: 1.0})[:4]])
def test_unpack_rejects_other_bytes(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a packed"):
        unpack(raw)


def test_load_detects_flipped_bit(tmp_path: Path) -> None:
    view = SparseIndex(tmp_path)
    view.apply([(docno, packed({docno % 7: 1.0, 9: 2.0})) for docno in range(1, 50)], [])
    view.save(7)
    (saved,) = tmp_path.iterdir()
    whole = saved.read_bytes()
    chance = random.Random(5)
    for at in [0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(200))]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chance.randrange(8)
        saved.write_bytes(damaged)
        assert SparseIndex(tmp_path).load() is False
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        assert SparseIndex(tmp_path).load() is False


def test_save_replaces_older_checkpoint(tmp_path: Path) -> None:
    assert SparseIndex(tmp_path / "nothing").load() is False
    view = SparseIndex(tmp_path)
    for seq in (7, 8):
        view.apply([(seq, packed({1: 1.0}))], [])
        view.save(seq)
    again = SparseIndex(tmp_path)
    assert again.load()
    assert (again.saved_seq, len(again)) == (8, 2)
    assert len(list(tmp_path.iterdir())) == 1


def test_search_during_writes_and_saves(tmp_path: Path) -> None:
    """Unchanged documents are always found with their score."""
    view = SparseIndex(tmp_path)
    view.apply([(docno, packed({docno: 1.0, 0: 1.0})) for docno in range(1, 3000)], [])
    done = threading.Event()
    troubles: list[str] = []
    counts = [0, 0]

    def ask(number: int) -> None:
        chance = random.Random(number)
        while not done.is_set():
            docno = 3 * chance.randrange(1, 999)
            candidates = {docno, docno + 1} if chance.random() < 0.5 else None
            found = search_results(view, {docno: 2.0, 0: 1.0}, 5, candidates)
            if found[0] != (docno, 3.0):
                troubles.append(f"{docno}: {found}")
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(40):
            first = 10_000 + 300 * turn
            new = [(docno, packed({0: 0.5, docno: 1.0})) for docno in range(first, first + 300)]
            view.apply(new, [3 * turn + 1, first - 300])
            if turn % 8 == 0:
                view.save(turn)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not troubles
    assert min(counts) > 0
