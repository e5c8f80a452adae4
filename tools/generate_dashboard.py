"""Generates the Grafana dashboard from `dashboard.py`.

`python -m tools.generate_dashboard` writes docs/deploy/grafana-dashboard.json. With `--check` it
writes nothing, and fails if the file is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.dashboard import ROWS, Panel, Row

PATH = Path(__file__).parent.parent / "docs" / "deploy" / "grafana-dashboard.json"
WIDTH, HEIGHT = 8, 8  # of a panel: three in a line of 24 columns
COLUMNS = 24
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    return {
        "title": "Cascade",
        "uid": "cascade",
        "tags": ["cascade"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                _variable("job", "label_values(cascade_build_info, job)"),
                _variable("instance", 'label_values(cascade_build_info{job=~"$job"}, instance)'),
            ]
        },
        "panels": list(_panels()),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Generate the Grafana dashboard.")
    parser.add_argument("--check", action="store_true", help="fail if the file is stale")
    check = parser.parse_args(arguments).check
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if not check:
        PATH.write_text(text)
    elif not PATH.exists() or PATH.read_text() != text:
        sys.exit(f"stale: {PATH.name}; run `make generated`")


def _variable(name: str, query: str) -> dict[str, Any]:
    """A choice of label values above the panels; all of them at first."""
    return {
        "name": name,
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    top = 0
    number = 0
    for row in ROWS:
        number += 1
        yield _row(row, number, top)
        top += 1
        for position, panel in enumerate(row.panels):
            line, column = divmod(position * WIDTH, COLUMNS)
            number += 1
            yield _panel(panel, number, column, top + line * HEIGHT)
        top += HEIGHT * -(-len(row.panels) * WIDTH // COLUMNS)


def _row(row: Row, number: int, top: int) -> dict[str, Any]:
    place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
    return {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": left, "y": top},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": DATA_SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for position, query in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    main()
