"""The dense view finds what brute force finds, and comes back as it was saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from service.embedded.dense import EXACT_BELOW, DenseView, Vector

DIMENSION = 16


def vectors(count: int, seed: int = 1) -> Vector:
    made = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    unit: Vector = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def filled(folder: Path, count: int, metric: str = "cosine") -> tuple[DenseView, Vector]:
    view = DenseView(folder, DIMENSION, metric)
    rows = vectors(count)
    view.apply([(docno, row.tobytes()) for docno, row in enumerate(rows, 1)], [])
    return view, rows


def brute_force(rows: Vector, query: Vector, among: BitMap, k: int, metric: str) -> list[float]:
    chosen = rows[[docno - 1 for docno in among]].astype(np.float16).astype(np.float32)
    euclidean = metric == "euclidean"
    scores = -((chosen - query) ** 2).sum(1) if euclidean else chosen @ query
    return sorted((float(score) for score in scores), reverse=True)[:k]


@settings(max_examples=60, deadline=None)
@given(
    among=st.sets(st.integers(1, 300), min_size=1),
    k=st.integers(1, 40),
    seed=st.integers(0, 1000),
    metric=st.sampled_from(["cosine", "dotproduct", "euclidean"]),
)
def test_a_filtered_search_is_brute_force_over_the_set(
    tmp_path_factory: pytest.TempPathFactory, among: set[int], k: int, seed: int, metric: str
) -> None:
    view, rows = filled(tmp_path_factory.mktemp("dense"), 300, metric)
    query = vectors(1, seed)[0]
    found = view.search(query, k, BitMap(among))
    assert {docno for docno, _ in found} <= among
    expected = brute_force(rows, query, BitMap(among), k, metric)
    assert [score for _, score in found] == pytest.approx(expected, abs=2e-3)


def test_a_loose_filter_over_many_is_filled_up(tmp_path: Path) -> None:
    """More than are scored one by one: the graph is asked for more until it is enough."""
    view, rows = filled(tmp_path, 3 * EXACT_BELOW)
    among = BitMap(range(1, 3 * EXACT_BELOW, 2))
    query = vectors(1, 99)[0]
    found = view.search(query, 50, among)
    assert len(found) == 50
    assert all(docno in among for docno, _ in found)
    best = brute_force(rows, query, among, 50, "cosine")
    hits = sum(score >= best[-1] - 2e-3 for _, score in found)
    assert hits >= 48


def test_what_was_removed_is_gone_and_doing_it_twice_changes_nothing(tmp_path: Path) -> None:
    view, rows = filled(tmp_path, 50)
    for _ in range(2):
        view.apply([(51, vectors(1, 5)[0].tobytes())], [1, 2, 3, 999])
    assert len(view) == 48
    assert 1 not in {docno for docno, _ in view.search(rows[0], 50)}


def test_saved_and_loaded_it_answers_the_same(tmp_path: Path) -> None:
    view, rows = filled(tmp_path, 100)
    view.save(7)
    view.apply([(101, vectors(1, 6)[0].tobytes())], [])
    view.save(8)
    again = DenseView(tmp_path, DIMENSION)
    assert again.load()
    assert again.applied == 8
    assert again.search(rows[3], 10) == view.search(rows[3], 10)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 100, None])
def test_a_damaged_or_missing_file_is_no_saved_state(tmp_path: Path, damage: bytes | None) -> None:
    view, _ = filled(tmp_path, 100)
    view.save(7)
    (saved,) = tmp_path.iterdir()
    saved.write_bytes(saved.read_bytes()[:5000] if damage is None else damage)
    assert DenseView(tmp_path, DIMENSION).load() is False


def test_vectors_of_another_width_are_not_loaded(tmp_path: Path) -> None:
    view, _ = filled(tmp_path, 10)
    view.save(7)
    assert DenseView(tmp_path, DIMENSION * 2).load() is False


def test_an_empty_view_and_an_empty_set_find_nothing(tmp_path: Path) -> None:
    view = DenseView(tmp_path, DIMENSION)
    assert view.search(vectors(1)[0], 5) == []
    view, rows = filled(tmp_path, 10)
    assert view.search(rows[0], 5, BitMap()) == []
