"""The queries of the dashboard and of the alerts fit the metrics of a running service."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operations.promql import SCRAPED, VARIABLE, accepts, grouping_labels, selectors
from tests.programs import find_program
from tests.web.metrics.samples import Samples
from tools import generate_dashboard

ROOT = Path(__file__).parent.parent.parent
ALERTS = ROOT / "docs" / "deploy" / "prometheus-alerts.yml"
DASHBOARD = ROOT / "docs" / "deploy" / "grafana-dashboard.json"
PAGE = ROOT / "docs" / "operations.md"
LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
SUMMARY_LABEL = re.compile(r"\$labels\.(\w+)")
METRIC_IN_PAGE = re.compile(r"^\| `(\w+)(?:\{([\w, ]+)\})?` \|", re.MULTILINE)
UNOBSERVED = {"status": {"500", "503"}, "source": {"hit"}}  # values that occur in bad times only


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def targets() -> Iterator[dict[str, Any]]:
    """The queries of all panels."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from panel.get("targets", [])


def assert_fits(expression: str, metrics: Samples) -> None:
    """Every metric exists, and some series of it is selected, or could be in bad times."""
    names = []
    for name, matchers in selectors(expression):
        names.append(name)
        if name == "up":
            continue
        assert name in metrics.names, f"{expression}: there is no {name}"
        known = metrics.values(name)
        for matcher in matchers:
            label = matcher[0]
            if label in SCRAPED:
                continue
            assert label in known, f"{expression}: {name} has no label {label}"
            values = known[label] | UNOBSERVED.get(label, set())
            assert any(accepts(matcher, value) for value in values), f"{expression}: {matcher}"
    assert names
    labels = grouping_labels(expression) - SCRAPED
    has_labels = {label for name in names for label in metrics.values(name)}
    assert labels <= has_labels, f"{expression}: there is no label {labels - has_labels}"


async def test_dashboard_queries_fit_metrics(metrics: Samples) -> None:
    for target in targets():
        expression = target["expr"]
        assert_fits(expression, metrics)
        legend = set(LEGEND_LABEL.findall(target["legendFormat"]))
        assert legend <= grouping_labels(expression) - {"le"}, f"{expression}: {legend}"


async def test_alert_queries_fit_metrics(metrics: Samples) -> None:
    for alert in alerts():
        expression = alert["expr"]
        assert_fits(expression, metrics)
        names = [name for name, _ in selectors(expression)]
        known = {label for name in names for label in metrics.values(name)} | SCRAPED
        used = set(SUMMARY_LABEL.findall(alert["annotations"]["summary"]))
        assert used <= (grouping_labels(expression) or known), alert["alert"]


async def test_page_lists_every_metric_with_its_labels(metrics: Samples) -> None:
    documented = {
        name: set(filter(None, labels.split(", ")))
        for name, labels in METRIC_IN_PAGE.findall(PAGE.read_text())
    }
    actual: dict[str, set[str]] = {}
    for name in metrics.names:
        family = re.sub("_(bucket|count|sum)$", "", name)
        labels = set(metrics.values(name)) - {"le", "worker"}
        actual[family] = actual.get(family, set()) | labels
    actual["cascade_worker_up"] = {"worker"}
    own = {name: labels for name, labels in actual.items() if name.startswith("cascade_")}
    assert documented == own


def test_page_says_what_to_do_for_every_alert() -> None:
    headings = set(re.findall(r"^### (Cascade\w+)$", PAGE.read_text(), re.MULTILINE))
    assert headings == {alert["alert"] for alert in alerts()}
    for alert in alerts():
        runbook = f"docs/operations.md#{alert['alert'].lower()}"
        assert alert["annotations"]["runbook"] == runbook


def test_dashboard_is_generated() -> None:
    generate_dashboard.main(["--check"])


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_promtool_accepts_alerts_and_dashboard_queries(tmp_path: Path) -> None:
    """The queries are checked as recording rules, with a duration for Grafana's variables."""
    promtool = find_program("promtool", "it checks rules and queries")
    rules = [
        {"record": f"query:{number}", "expr": with_values(target["expr"])}
        for number, target in enumerate(targets())
    ]
    queries = tmp_path / "queries.yml"
    queries.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", ALERTS, queries)


def test_alerts_fire_in_bad_times_only(tmp_path: Path) -> None:
    """Each alert has a case in which it fires, beside a healthy instance for which it does not."""
    promtool = find_program("promtool", "it evaluates the alerts")
    cases = yaml.safe_load((Path(__file__).parent / "alert_cases.yml").read_text())
    assert set(cases) == {alert["alert"] for alert in alerts()}
    tests = [as_promtool_test(name, case) for name, case in cases.items()]
    file = tmp_path / "alerts.test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": tests}))
    run(promtool, "test", "rules", file)


def as_promtool_test(name: str, case: dict[str, Any]) -> dict[str, Any]:
    (alert,) = (each for each in alerts() if each["alert"] == name)
    expected = [
        {
            "exp_labels": {"severity": alert["labels"]["severity"], **each["labels"]},
            "exp_annotations": {
                "summary": each["summary"],
                "runbook": alert["annotations"]["runbook"],
            },
        }
        for each in case["fires"]
    ]
    return {
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values} for series, values in case["series"].items()
        ],
        "alert_rule_test": [{"eval_time": "30m", "alertname": name, "exp_alerts": expected}],
    }


def with_values(expression: str) -> str:
    return VARIABLE.sub("x", expression.replace("$__rate_interval", "5m"))


def run(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("cascade_nothing_total", "there is no cascade_nothing_total"),
        ('cascade_imports{state="failed"}', "has no label state"),
        ('cascade_imports{status="lost"}', "'lost'"),
        ("sum by (route) (cascade_imports)", "there is no label {'route'}"),
    ],
)
def test_query_that_does_not_fit_is_found(expression: str, fault: str) -> None:
    metrics = Samples('cascade_imports{status="failed"} 1')
    with pytest.raises(AssertionError, match=re.escape(fault)):
        assert_fits(expression, metrics)
