"""bench.service: its output, plot and checks. No test depends on a measured figure."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.figures import Rounds, result
from bench.processes import ROOT, Failed
from bench.service.baseline import once_each
from bench.service.parts import PARTS, Case, Part, Plan, cases
from bench.service.plot import Panel, bars
from bench.service.report import ratios, rows
from bench.service.variants import AIOHTTP, Variant
from tests.e2e.command import environment

CALLS = {"semantic": 1.0, "cascading": 2.0}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("part", PARTS)
def test_quick_run_measures_same_work_of_every_variant(part: str, tmp_path: Path) -> None:
    saved, plot = tmp_path / "figures.json", tmp_path / "plot.svg"
    options = ["--quick", "--in-flight", "4", "--seconds", "0.5", "--delay-ms", "5"]
    options += ["--only", part, "--json", str(saved), "--plot", str(plot)]
    completed = subprocess.run(
        [sys.executable, "-m", "bench.service", *options],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (0, "")

    installed = {"cascade", "stock"} | ({"aiohttp"} if AIOHTTP.versions() else set())
    table = re.findall(
        r"^(steady|slow|cached) +(\w+) +4  (\w+) .* ([\d.]+) +0$", completed.stdout, re.M
    )
    seen = Counter((found, search) for found, search, *_ in table)
    variants = 2 if part == "cached" else len(installed)
    assert seen == {(part, search): variants for search in CALLS}
    for _, search, variant, calls in table:
        if part == "steady":
            assert variant in installed
            extra = 1.1 if variant == "cascade" else 1.0  # hedged requests
            assert CALLS[search] <= float(calls) <= extra * CALLS[search]
        if variant == "hello":
            assert float(calls) == 0
    assert len(re.findall(r"in flight, cascade / \w+: requests/s min", completed.stdout)) == len(
        seen
    )

    figures = json.loads(saved.read_text())
    assert figures["versions"]["stock"]["pinecone"].startswith("10.")
    assert len(figures["cases"]) == len(seen)
    assert plot.exists() == (part == "steady")
    if plot.exists():
        text = "".join(ElementTree.parse(plot).getroot().itertext())  # noqa: S314 - trusted input
        assert "Cascade" in text
        assert "semantic" in text


WRONG_RESULTS = Variant("wrong", ("tests.bench.wrong_baseline",), ())
NO_SEARCH = Variant("no-search", ("bench.hello",), ())


@pytest.mark.parametrize(
    ("rival", "why"),
    [
        (WRONG_RESULTS, "semantic: cascade and wrong do not find the same"),
        (NO_SEARCH, "no-search answered with"),
    ],
)
def test_variant_with_different_results_is_not_measured(rival: Variant, why: str) -> None:
    part = Part("steady", "", (rival,), in_flight=(1,))
    plan = Plan(["semantic"], [], rounds=1, seconds=0.1, delay_ms=1)
    with pytest.raises(Failed, match=why):
        next(cases(part, plan, []))


def test_unknown_search_is_named_in_error() -> None:
    command = [sys.executable, "-m", "bench.service", "--searches", "semantic,lexicl"]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 2
    assert "'lexicl' is none of semantic, lexical, cascading" in completed.stderr


def make_rounds(rate: float, latency_s: float, calls: int) -> Rounds:
    measured = result(rate, [latency_s] * 100, Counter({200: 100}), 0, 0.01)
    return Rounds([measured], cpu_s=0.1, upstream_calls=calls)


@pytest.fixture
def case() -> Case:
    return Case(
        "slow",
        "semantic",
        16,
        {
            "cascade": make_rounds(300, 0.02, calls=105),
            "stock": make_rounds(100, 0.08, calls=100),
            "aiohttp": make_rounds(200, 0.04, calls=100),
        },
    )


def test_ratio_is_to_faster_baseline(case: Case) -> None:
    assert ratios(case) == (
        "slow, semantic, 16 in flight, cascade / aiohttp: "
        "requests/s min 1.50, median 1.50, max 1.50; p50 0.50, p99 0.50; CPU per request 1.00"
    )


def test_table_shows_extra_calls(case: Case) -> None:
    ours, stock, _ = rows(case).splitlines()
    assert ours.split()[-2:] == ["1.05", "0"]
    assert stock.split()[-2:] == ["1.00", "0"]


def test_baseline_keeps_better_score_of_duplicate() -> None:
    dense = [{"_id": "a", "score": 0.5}, {"_id": "b", "score": 0.4}]
    sparse = [{"_id": "b", "score": 0.9}, {"_id": "c", "score": 0.1}]
    assert [(each["_id"], each["score"]) for each in once_each(dense + sparse)] == [
        ("b", 0.9),
        ("a", 0.5),
        ("c", 0.1),
    ]


def test_plot_has_numbered_bar_for_each_value() -> None:
    panels = [Panel("semantic", {"1": {"ours": 40, "theirs": 20}, "64": {"ours": 1000}})]
    root = ElementTree.fromstring(bars("a < b", "in flight", {"ours": "O", "theirs": "T"}, panels))  # noqa: S314
    texts = [text.text for text in root.iter(SVG + "text")]
    assert {"a < b", "in flight", "semantic", "1", "64", "O", "T"} < set(texts)
    assert [text for text in texts if text in {"40", "20", "1,000"}] == ["40", "20", "1,000"]
    squares, drawn = 2, [float(rect.attrib["height"]) for rect in root.iter(SVG + "rect")]
    low, lower, high = drawn[squares:]
    assert low == pytest.approx(2 * lower, abs=0.1)
    assert high == pytest.approx(25 * low, abs=1.3)


def test_plot_contains_every_bar() -> None:
    groups = {str(n): {"a": 1.0 * n, "b": 2.0, "c": 3.0} for n in (1, 16, 64, 256)}
    svg = bars("t", "b", dict.fromkeys("abc", "a long title"), [Panel("p", groups)] * 2)
    root = ElementTree.fromstring(svg)  # noqa: S314 - trusted input
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for rect in root.iter(SVG + "rect"):
        x, y, wide, tall = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + tall <= height
