"""The sparse view finds what brute force finds, and comes back as it was saved."""

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

# Multiples of an eighth have exact products and sums: what is equal is equal to the last bit.
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
    held: dict[int, SparseVector], query: SparseVector, k: int, among: set[int] | None
) -> list[tuple[int, float]]:
    found = [
        (docno, sum(value * vector[index] for index, value in query.items() if index in vector))
        for docno, vector in held.items()
        if vector.keys() & query.keys() and (among is None or docno in among)
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]


def asked(
    view: SparseIndex, query: SparseVector, k: int, among: set[int] | None = None
) -> list[tuple[int, float]]:
    chosen = None if among is None else BitMap(among)
    return view.search(list(query), list(query.values()), k, chosen)


@settings(max_examples=150, deadline=None)
@given(
    steps=changes,
    query=sparse_vectors,
    k=st.integers(1, 70),
    among=st.none() | st.sets(st.integers(1, 70)),
)
def test_after_any_changes_a_search_is_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[dict[int, SparseVector], set[int]]],
    query: SparseVector,
    k: int,
    among: set[int] | None,
) -> None:
    folder = tmp_path_factory.mktemp("sparse")
    view = SparseIndex(folder)
    held: dict[int, SparseVector] = {}
    for added, removed in steps:
        new = {docno: v for docno, v in added.items() if docno not in held or docno in removed}
        for _ in range(2):
            view.apply([(docno, packed(vector)) for docno, vector in new.items()], removed)
        held = {docno: v for docno, v in held.items() if docno not in removed} | new
    assert len(view) == len(held)
    assert asked(view, query, k, among) == brute_force(held, query, k, among)
    view.save(5)
    again = SparseIndex(folder)
    assert again.load()
    assert asked(again, query, k, among) == brute_force(held, query, k, among)
    assert len(again) == len(held)


def test_many_documents_in_many_portions(tmp_path: Path) -> None:
    chance = random.Random(3)
    held = {
        docno: {chance.randrange(200): chance.randrange(-40, 40) / 8 for _ in range(10)}
        for docno in range(1, 5001)
    }
    view = SparseIndex(tmp_path)
    view.apply([(docno, packed(vector)) for docno, vector in held.items()], [])
    for start in range(1, 4000, 500):
        removed = range(start, start + 400)
        view.apply([], removed)
        for docno in removed:
            del held[docno]
    for _ in range(20):
        query = {chance.randrange(200): chance.randrange(-40, 40) / 8 for _ in range(20)}
        among = set(chance.sample(range(1, 5001), 2000))
        assert asked(view, query, 30) == brute_force(held, query, 30, None)
        assert asked(view, query, 30, among) == brute_force(held, query, 30, among)
    assert len(view) == len(held)


def test_who_shares_no_index_is_not_found_and_who_does_is_even_at_zero(tmp_path: Path) -> None:
    view = SparseIndex(tmp_path)
    vectors = [{1: 1.0, 2: -1.0}, {3: 5.0}, {}, {1: -2.0}]
    view.apply([(docno, packed(vector)) for docno, vector in enumerate(vectors, 1)], [])
    assert asked(view, {1: 1.0, 2: 1.0}, 10) == [(1, 0.0), (4, -2.0)]
    assert asked(view, {9: 1.0}, 10) == []
    assert asked(view, {}, 10) == []
    assert asked(view, {1: 1.0}, 10, set()) == []
    assert len(view) == 4


@given(sparse_vectors)
def test_what_was_packed_is_unpacked_in_the_order_of_its_indices(vector: SparseVector) -> None:
    indices, values = unpack(packed(vector))
    assert list(zip(indices.tolist(), values.tolist(), strict=True)) == sorted(vector.items())


@pytest.mark.parametrize(
    ("indices", "values", "why"),
    [
        ([1, 2], [1.0], "as many"),
        ([2, 1, 2], [1.0, 2.0, 3.0], "only once"),
        ([-1], [1.0], "from 0"),
        ([2**32], [1.0], "from 0"),
        ([2**70], [1.0], "whole numbers"),
        ([1], [math.nan], "finite"),
        ([1], [-math.inf], "finite"),
        ([1], [1e39], "finite"),
        ([[1]], [1.0], "whole numbers"),
        ([1.5], [1.0], "whole numbers"),
        (["x"], [1.0], "whole numbers"),
        ([1], ["1.0"], "and numbers"),
        ([1], [2**80], "and numbers"),
    ],
)
def test_what_is_no_sparse_vector_is_refused(
    indices: list[int], values: list[float], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        pack(indices, values)


@pytest.mark.parametrize("raw", [b"1234567", bytes(16), packed({1: 1.0})[:4]])
def test_what_was_not_packed_is_not_unpacked(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a packed"):
        unpack(raw)


def test_one_flipped_bit_anywhere_is_seen(tmp_path: Path) -> None:
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


def test_the_saved_state_is_the_newest_and_the_only_one(tmp_path: Path) -> None:
    assert SparseIndex(tmp_path / "nothing").load() is False
    view = SparseIndex(tmp_path)
    for seq in (7, 8):
        view.apply([(seq, packed({1: 1.0}))], [])
        view.save(seq)
    again = SparseIndex(tmp_path)
    assert again.load()
    assert (again.saved_seq, len(again)) == (8, 2)
    assert len(list(tmp_path.iterdir())) == 1


def test_searches_go_on_while_others_write_and_save(tmp_path: Path) -> None:
    """What is there all the time is found all the time, with its score."""
    view = SparseIndex(tmp_path)
    view.apply([(docno, packed({docno: 1.0, 0: 1.0})) for docno in range(1, 3000)], [])
    done = threading.Event()
    troubles: list[str] = []
    counts = [0, 0]

    def ask(number: int) -> None:
        chance = random.Random(number)
        while not done.is_set():
            docno = 3 * chance.randrange(1, 999)
            among = {docno, docno + 1} if chance.random() < 0.5 else None
            found = asked(view, {docno: 2.0, 0: 1.0}, 5, among)
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
