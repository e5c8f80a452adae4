"""Spans and the audit log of a running service with several processes, and at its end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import serving
from tests.tracing.collector import Collector
from tests.upstream import Upstream

pytest.importorskip("opentelemetry.sdk", reason="needs the extra `opentelemetry`")

KEY = "0123456789abcdef-key"


@pytest.mark.parametrize("workers", [1, 2])
def test_spans_and_audit_records_of_all_processes_arrive_before_the_end(
    workers: int, upstream: Upstream, tmp_path: Path
) -> None:
    options = {"WEB_CONCURRENCY": workers, "LOG_FORMAT": "json", "SERVICE_API_KEYS": KEY}
    options |= {"AUDIT_LOG": tmp_path / "audit.log", "DATA_DIR": tmp_path}
    with Collector() as collector:
        options["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
        options["OTEL_BSP_SCHEDULE_DELAY"] = "600000"  # nothing is exported before the end
        with serving(upstream, **options) as (process, address):
            for number in range(8):  # each over a connection of its own
                record = {"_id": str(number), "chunk_text": "x"}
                answer = httpx.post(
                    f"{address}/api/records", json=[record], headers={"Api-Key": KEY}, timeout=60
                )
                assert answer.status_code == 200
            assert collector.spans == []
            process.signal_group(signal.SIGTERM)
            assert process.wait() == 0
            log = process.log()
    requests = collector.named("POST /api/records")
    assert len(requests) == 8
    assert len(collector.spans) == 8 * 3
    lines = [json.loads(line) for line in log.splitlines() if "service.access" in line]
    assert {line["trace_id"] for line in lines} == {span.trace_id for span in requests}
    audited = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [line["action"] for line in audited] == ["records.upsert"] * 8
    assert {line["trace_id"] for line in audited} == {span.trace_id for span in requests}


def test_collector_that_hangs_does_not_keep_the_service_from_its_end(upstream: Upstream) -> None:
    with Collector() as collector:
        collector.answers.clear()
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        with serving(upstream, **endpoint) as (process, address):
            url = f"{address}/api/lexical-search?text_query=a"
            assert httpx.get(url, timeout=60).status_code == 200
            process.signal_group(signal.SIGTERM)
            assert process.wait() == 0
            assert "the last spans were not exported" in process.log()
