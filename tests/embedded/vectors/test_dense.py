"""Dense index: search compared with brute force, and checkpoints."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyroaring import BitMap
from usearch.index import Index

from service.embedded.storage.checkpoint_files import CheckpointFiles
from service.embedded.vectors.dense import EXACT_BELOW, DenseIndex, Vector

DIMENSION = 16
METRICS = ["cosine", "dotproduct", "euclidean"]


def vectors(count: int, seed: int = 1, dimension: int = DIMENSION) -> Vector:
    made = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    unit: Vector = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def numbered(rows: Vector, first: int = 1) -> list[tuple[int, bytes]]:
    return [(docno, row.tobytes()) for docno, row in enumerate(rows, first)]


def filled(
    folder: Path, count: int, metric: str = "cosine", dtype: str = "f16"
) -> tuple[DenseIndex, Vector]:
    view = DenseIndex(folder, DIMENSION, metric, dtype=dtype)
    rows = vectors(count)
    view.apply(numbered(rows), [])
    return view, rows


def scores(rows: Vector, query: Vector, metric: str) -> NDArray[np.float64]:
    exact, query_vector = rows.astype(np.float64), query.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(((exact - query_vector) ** 2).sum(1))
    products = exact @ query_vector
    if metric == "dotproduct":
        return np.asarray(products)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(query_vector)
    return np.asarray(np.divide(products, norms, out=np.zeros_like(products), where=norms > 0))


def brute_force(
    rows: Vector, query: Vector, candidates: set[int], k: int, metric: str
) -> list[tuple[int, float]]:
    """Returns the best first, ties by docno; scores have the 12 bits of 16-bit floats."""
    every = scores(rows, query, metric)
    found = [(docno, float(every[docno - 1])) for docno in candidates]
    sign = 1 if metric == "euclidean" else -1
    return sorted(found, key=lambda pair: (sign * pair[1], pair[0]))[:k]


@settings(max_examples=60, deadline=None)
@given(
    candidates=st.sets(st.integers(1, 300), min_size=1),
    k=st.integers(1, 40),
    seed=st.integers(0, 1000),
    metric=st.sampled_from(METRICS),
    dtype=st.sampled_from(["f16", "f32"]),
)
def test_filtered_search_equals_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    candidates: set[int],
    k: int,
    seed: int,
    metric: str,
    dtype: str,
) -> None:
    view, rows = filled(tmp_path_factory.mktemp("dense"), 300, metric, dtype)
    query = vectors(1, seed)[0]
    found = view.search(query, k, BitMap(candidates))
    held = rows if dtype == "f32" else rows.astype(np.float16).astype(np.float32)
    expected = brute_force(held, query, candidates, k, metric)
    assert {docno for docno, _ in found} <= candidates
    close = 1e-5 if dtype == "f32" else 4e-3
    assert [score for _, score in found] == pytest.approx([s for _, s in expected], abs=close)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION),
        min_size=1,
        max_size=60,
    ),
    query=st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION),
    k=st.integers(1, 70),
    metric=st.sampled_from(["dotproduct", "euclidean"]),
    dtype=st.sampled_from(["f16", "f32"]),
    odd=st.booleans(),
)
def test_equal_scores_are_ordered_by_docno(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[int]],
    query: list[int],
    k: int,
    metric: str,
    dtype: str,
    odd: bool,
) -> None:
    """Small integers have exact scores and many ties."""
    every = np.array(rows, dtype=np.float32)
    view = DenseIndex(tmp_path_factory.mktemp("dense"), DIMENSION, metric, dtype=dtype)
    view.apply(numbered(every), [])
    candidates = set(range(1, len(rows) + 1, 2 if odd else 1))
    query_vector = np.array(query, dtype=np.float32)
    found = view.search(query_vector, k, BitMap(candidates) if odd else None)
    assert found == brute_force(every, query_vector, candidates, k, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_score_does_not_depend_on_position(tmp_path: Path, metric: str, dtype: str) -> None:
    wide = 100
    once = vectors(1, 4, wide)[0]
    rows = vectors(EXACT_BELOW - 1000, 1, wide)
    rows[::7] = once
    view = DenseIndex(tmp_path, wide, metric, dtype=dtype)
    view.apply(numbered(rows), [])
    same = list(range(1, len(rows) + 1, 7))
    found = view.search(once, 300)
    assert [docno for docno, _ in found] == same[:300]
    assert len({score for _, score in found}) == 1
    assert view.search(once, 300, BitMap(same[::2]))[0][1] == found[0][1]


def test_f32_vectors_keep_precision_and_range(tmp_path: Path) -> None:
    view = DenseIndex(tmp_path, 2, "dotproduct", dtype="f32")
    rows = np.array([[1e6, 0], [1e-9, 0], [2e-9, 0], [70000, 0]], dtype=np.float32)
    view.apply(numbered(rows), [])
    found = view.search(np.array([1, 0], dtype=np.float32), 4)
    assert [docno for docno, _ in found] == [1, 4, 3, 2]
    assert [score for _, score in found] == pytest.approx([1e6, 70000, 2e-9, 1e-9], rel=1e-6)


def test_euclidean_score_is_squared_distance_ascending(tmp_path: Path) -> None:
    view = DenseIndex(tmp_path, 2, "euclidean", dtype="f32")
    view.apply(numbered(np.array([[3, 4], [0, 1], [0, 0]], dtype=np.float32)), [])
    assert view.search(np.zeros(2, dtype=np.float32), 3) == [(3, 0.0), (2, 1.0), (1, 25.0)]


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_zero_vector_has_zero_cosine_similarity(tmp_path: Path, dtype: str) -> None:
    view = DenseIndex(tmp_path, 2, "cosine", dtype=dtype)
    view.apply(numbered(np.array([[-1, 0], [0, 0], [1, 0]], dtype=np.float32)), [])
    found = view.search(np.array([5, 0], dtype=np.float32), 3)
    assert [number for number, _ in found] == [3, 2, 1]
    assert [score for _, score in found] == pytest.approx([1, 0, -1])  # CPUs round differently
    assert view.search(np.zeros(2, dtype=np.float32), 2) == [(1, 0.0), (2, 0.0)]


def test_graph_search_has_high_recall(tmp_path: Path) -> None:
    view, rows = filled(tmp_path, 2 * EXACT_BELOW)
    view.apply([], range(1, 2 * EXACT_BELOW, 4))
    view.apply(numbered(rows[: 2 * EXACT_BELOW : 4], 2 * EXACT_BELOW + 1), [])
    left = set(range(1, 2 * EXACT_BELOW + 1)) - set(range(1, 2 * EXACT_BELOW, 4))
    hits = 0
    for query in vectors(50, 9):
        found = view.search(query, 10)
        again = {*left, *range(2 * EXACT_BELOW + 1, 2 * EXACT_BELOW + 1 + EXACT_BELOW // 2)}
        every = np.concatenate([rows, rows[: 2 * EXACT_BELOW : 4]])
        expected = brute_force(every, query, again, 10, "cosine")
        hits += sum(score >= expected[-1][1] - 1e-3 for _, score in found)
    assert hits >= 485


def test_graph_search_of_clustered_vectors_has_high_recall(tmp_path: Path) -> None:
    """Vectors of texts look like this: hundreds of topics, each spread over a few directions."""
    wide, chance = 64, np.random.default_rng(3)
    topics = chance.normal(size=(300, wide))
    spread = chance.normal(size=(300, 6, wide))

    def texts(count: int) -> Vector:
        topic = chance.integers(300, size=count)
        weights = chance.normal(size=(count, 1, 6)) * 0.5
        noise = chance.normal(size=(count, wide)) * 0.3
        rows = topics[topic] + (weights @ spread[topic])[:, 0] + noise
        return np.asarray(rows, dtype=np.float32)

    rows = texts(10_000)
    view = DenseIndex(tmp_path, wide)
    view.apply(numbered(rows), [])
    hits = 0
    for query in texts(100):
        best = np.sort(scores(rows, query, "cosine"))[-10]
        hits += sum(score >= best - 2e-3 for _, score in view.search(query, 10))
    assert hits >= 970


@pytest.mark.parametrize("metric", METRICS)
def test_largest_floats_do_not_overflow(tmp_path: Path, metric: str) -> None:
    """Their squares overflow 32-bit floats."""
    rows = vectors(EXACT_BELOW + 1000)
    rows[:500] *= np.float32(3e38)
    rows[500:1000] *= np.float32(1e-38)
    view = DenseIndex(tmp_path, DIMENSION, metric, dtype="f32")
    view.apply(numbered(rows), [])
    for query in (rows[3], rows[700], rows[2000]):
        found = view.search(query, 20)
        assert np.isfinite([score for _, score in found]).all()
        everything = BitMap(range(1, len(rows) + 1))
        exact = view.search(query, 20, everything)
        assert [score for _, score in exact] == pytest.approx(
            [s for _, s in brute_force(rows, query, set(everything), 20, metric)],
            rel=1e-4,
            abs=1e-6,
        )
        assert len(found) == 20


def test_cosine_handles_very_long_and_short_vectors(tmp_path: Path) -> None:
    view = DenseIndex(tmp_path, 2, "cosine")
    lengths = np.array([[1e-30], [1e-6], [1], [1e6], [1e30]], dtype=np.float32)
    view.apply(numbered(lengths * np.array([3, 4], dtype=np.float32)), [])
    found = view.search(np.array([4e30, 3e30], dtype=np.float32), 5)
    assert [score for _, score in found] == pytest.approx([0.96] * 5, abs=1e-3)


@pytest.mark.parametrize("share", [2, 50])
def test_search_with_many_candidates_returns_k_results(tmp_path: Path, share: int) -> None:
    """The graph proposes many candidates; if it can't, the whole set is scored."""
    view = DenseIndex(tmp_path, DIMENSION, exact_up_to=100)
    rows = vectors(2 * EXACT_BELOW)
    view.apply(numbered(rows), [])
    candidates = set(range(1, 2 * EXACT_BELOW, share))
    query = vectors(1, 99)[0]
    found = view.search(query, 20, BitMap(candidates))
    expected = brute_force(rows, query, candidates, 20, "cosine")
    assert {docno for docno, _ in found} <= candidates
    assert len({docno for docno, _ in found} & {docno for docno, _ in expected}) >= 19


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sets(st.integers(1, 400), max_size=150), st.sets(st.integers(1, 400))),
        min_size=1,
        max_size=6,
    )
)
def test_apply_any_changes_equals_dictionary_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[set[int], set[int]]]
) -> None:
    """Few wide vectors fit into a leaf, so that leaves are split, merged and emptied."""
    wide = 8192
    rows = np.zeros((401, wide), dtype=np.float32)
    rows[:, 0], rows[:, 1] = 1, np.arange(401) / 400
    view = DenseIndex(tmp_path_factory.mktemp("dense"), wide, "dotproduct")
    held: set[int] = set()
    for added, removed in steps:
        shuffled = list(added)
        random.Random(1).shuffle(shuffled)
        for _ in range(2):
            view.apply([(docno, rows[docno].tobytes()) for docno in shuffled], removed)
        held = (held - removed) | added
    query_vector = np.zeros(wide, dtype=np.float32)
    query_vector[1] = 1
    assert len(view) == len(held)
    best = sorted(held, reverse=True)
    assert [docno for docno, _ in view.search(query_vector, 500)] == best
    some = BitMap(docno for docno in range(401) if docno % 3)
    assert [d for d, _ in view.search(query_vector, 500, some)] == [d for d in best if d in some]


def test_apply_is_idempotent(tmp_path: Path) -> None:
    view, rows = filled(tmp_path, 50)
    for _ in range(2):
        view.apply([(51, vectors(1, 5)[0].tobytes())], [1, 2, 3, 999])
    assert len(view) == 48
    assert 1 not in {docno for docno, _ in view.search(rows[0], 50)}


def test_apply_rejects_vector_of_other_dimension(tmp_path: Path) -> None:
    view, _ = filled(tmp_path, 5)
    with pytest.raises(ValueError, match="16 dimensions"):
        view.apply([(6, b"\0" * 60), (7, b"\0" * 68)], [])
    assert len(view) == 5


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_load_restores_saved_results(tmp_path: Path, dtype: str) -> None:
    view, rows = filled(tmp_path, 1000, dtype=dtype)
    view.save(7)
    view.apply(numbered(vectors(1, 6), 1001), [5, 6])
    view.save(8)
    again = DenseIndex(tmp_path, DIMENSION, dtype=dtype)
    assert again.load()
    assert again.saved_seq == 8
    assert len(again) == 999
    assert again.search(rows[3], 50) == view.search(rows[3], 50)
    again.apply(numbered(vectors(5, 7), 1002), [1, 2])
    assert len(again) == 1002
    assert len(list(tmp_path.iterdir())) == 1


def test_save_empty_index(tmp_path: Path) -> None:
    DenseIndex(tmp_path, DIMENSION).save(3)
    again = DenseIndex(tmp_path, DIMENSION)
    assert again.load()
    assert (again.saved_seq, len(again)) == (3, 0)


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 100, None])
def test_load_ignores_damaged_or_missing_checkpoint(tmp_path: Path, damage: bytes | None) -> None:
    view, _ = filled(tmp_path, 100)
    view.save(7)
    (saved,) = tmp_path.iterdir()
    saved.write_bytes(saved.read_bytes()[:5000] if damage is None else damage)
    assert DenseIndex(tmp_path, DIMENSION).load() is False


def test_load_detects_flipped_bit(tmp_path: Path) -> None:
    view, _ = filled(tmp_path, 100)
    view.save(7)
    (saved,) = tmp_path.iterdir()
    whole = saved.read_bytes()
    chance = random.Random(5)
    for at in [0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(200))]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chance.randrange(8)
        saved.write_bytes(damaged)
        assert DenseIndex(tmp_path, DIMENSION).load() is False


def test_load_falls_back_to_older_checkpoint(tmp_path: Path) -> None:
    view, _ = filled(tmp_path, 100)
    view.save(7)
    (saved,) = tmp_path.iterdir()
    (tmp_path / f"{9:020d}.usearch").write_bytes(saved.read_bytes())  # named for another change
    (tmp_path / "notes.usearch").write_bytes(b"?")
    again = DenseIndex(tmp_path, DIMENSION)
    assert again.load()
    assert again.saved_seq == 7


@pytest.mark.parametrize(
    ("dimension", "metric", "dtype"),
    [(32, "cosine", "f16"), (16, "dotproduct", "f16"), (16, "cosine", "f32")],
)
def test_load_ignores_checkpoint_of_other_kind(
    tmp_path: Path, dimension: int, metric: str, dtype: str
) -> None:
    view, _ = filled(tmp_path, 10)
    view.save(7)
    assert DenseIndex(tmp_path, dimension, metric, dtype=dtype).load() is False


def test_load_ignores_checkpoint_of_old_layout(tmp_path: Path) -> None:
    """The old layout had a 16-bit graph and no separate vectors."""
    former = Index(ndim=DIMENSION, metric="cos", dtype="f16")
    former.add(np.arange(1, 101), vectors(100))
    saved = former.save()
    assert saved is not None
    CheckpointFiles(tmp_path, ".usearch", f"dense cosine f16 {DIMENSION}").write(7, [saved])
    view = DenseIndex(tmp_path, DIMENSION)
    assert view.load() is False
    view.apply(numbered(vectors(100)), [])
    view.save(8)
    assert DenseIndex(tmp_path, DIMENSION).load()


def test_search_empty_index_or_candidates_finds_nothing(tmp_path: Path) -> None:
    view = DenseIndex(tmp_path, DIMENSION)
    assert view.search(vectors(1)[0], 5) == []
    view, rows = filled(tmp_path, 10)
    assert view.search(rows[0], 5, BitMap()) == []
    assert view.search(rows[0], 5, BitMap([77])) == []


def test_search_during_writes_and_saves(tmp_path: Path) -> None:
    """Unchanged documents are always found, and every saved checkpoint can be loaded."""
    view, rows = filled(tmp_path, EXACT_BELOW + 500)
    steady = BitMap(range(1, EXACT_BELOW + 501, 3))
    done = threading.Event()
    troubles: list[str] = []
    query_vector = [0, 0]

    def ask(number: int) -> None:
        chance = random.Random(number)
        while not done.is_set():
            docno = steady[chance.randrange(len(steady))]
            candidates = steady if chance.random() < 0.5 else None
            found = view.search(rows[docno - 1], 10, candidates)
            if docno not in {each for each, _ in found[:3]} or len(found) != 10:
                troubles.append(f"{docno}: {found}")
            query_vector[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            first = 10_000 + 200 * turn
            moved = [docno for docno in range(1, 600) if docno not in steady]
            view.apply(numbered(vectors(200, turn + 2), first), [*moved[turn::6], first - 200])
            view.save(turn + 1)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not troubles
    assert min(query_vector) > 0
    again = DenseIndex(tmp_path, DIMENSION)
    assert again.load()
    assert (again.saved_seq, len(again)) == (6, len(view))
