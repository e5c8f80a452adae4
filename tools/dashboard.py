"""The Grafana dashboard: what its panels show. `generate_dashboard.py` makes the JSON of it."""

from __future__ import annotations

from dataclasses import dataclass

SEARCHES = 'route=~"/api/(semantic-search|lexical-search|cascading-retrieval)"'
FAILED = 'status=~"5.."'
RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and the legend of its series."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph over time. `unit` is Grafana's name of it."""

    title: str
    unit: str
    description: str
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def per_second(metric: str, by: str, labels: str = "") -> str:
    """The rate of a counter by some of its labels, over all workers and instances."""
    return f"sum by ({by}) (rate({selected(metric, labels)}{RATE}))"


def total(metric: str, by: str, labels: str = "") -> str:
    """The sum of a gauge by some of its labels, over all workers and instances."""
    return f"sum by ({by}) ({selected(metric, labels)})"


def highest(metric: str, by: str, labels: str = "") -> str:
    return f"max by ({by}) ({selected(metric, labels)})"


def quantile(share: float, histogram: str, by: str = "", labels: str = "") -> str:
    grouped = ", ".join(["le", *filter(None, [by])])
    return f"histogram_quantile({share}, {per_second(f'{histogram}_bucket', grouped, labels)})"


def selected(metric: str, labels: str = "") -> str:
    matchers = ", ".join(filter(None, ['job=~"$job"', 'instance=~"$instance"', labels]))
    return f"{metric}{{{matchers}}}"


REQUESTS = "cascade_http_request_duration_seconds"
STAGES = "cascade_search_stage_duration_seconds"
LAG = "cascade_event_loop_lag_seconds"

ROWS = (
    Row(
        "Requests",
        (
            Panel(
                "Requests by status",
                "reqps",
                "All requests. 499 is a client that did not wait for the answer.",
                (Query(per_second(f"{REQUESTS}_count", "status"), "{{status}}"),),
            ),
            Panel(
                "Requests by route",
                "reqps",
                "All requests, by the template of the route.",
                (Query(per_second(f"{REQUESTS}_count", "route"), "{{route}}"),),
            ),
            Panel(
                "Latency of searches",
                "s",
                "From the arrival of a search to the start of its answer, queue included.",
                tuple(
                    Query(quantile(share, REQUESTS, labels=SEARCHES), f"p{share * 100:g}")
                    for share in (0.5, 0.95, 0.99)
                ),
            ),
            Panel(
                "Errors",
                "percentunit",
                "The share of requests that were answered with 5xx.",
                (
                    Query(
                        per_second(f"{REQUESTS}_count", "job", FAILED)
                        + " / "
                        + per_second(f"{REQUESTS}_count", "job"),
                        "{{job}}",
                    ),
                ),
            ),
            Panel(
                "Open streams and WebSockets",
                "short",
                "Requests in progress on routes that stay open for long.",
                (
                    Query(
                        total(
                            "cascade_http_requests_in_progress",
                            "route",
                            'route=~".*/(stream|events|export|ws)"',
                        ),
                        "{{route}}",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Searches",
        (
            Panel(
                "Stages, p95",
                "s",
                "The 95th percentile of each stage of the searches that were computed.",
                (
                    Query(
                        quantile(0.95, STAGES, "mode, stage", 'status="ok"'), "{{mode}} {{stage}}"
                    ),
                ),
            ),
            Panel(
                "Stages that did not succeed",
                "ops",
                "Stages that failed, were late or were skipped.",
                (
                    Query(
                        per_second(f"{STAGES}_count", "stage, status", 'status!="ok"'),
                        "{{stage}} {{status}}",
                    ),
                ),
            ),
            Panel(
                "Degraded answers",
                "ops",
                "Answers that were computed without a stage.",
                (
                    Query(
                        per_second("cascade_search_degraded_total", "missing"),
                        "without {{missing}}",
                    ),
                ),
            ),
            Panel(
                "Answers by source",
                "ops",
                "Stored (hit), joined to one in progress (shared), or computed.",
                (Query(per_second("cascade_cache_answers_total", "source"), "{{source}}"),),
            ),
            Panel(
                "Read and rerank units",
                "ops",
                "What searches cost at Pinecone, per second.",
                (
                    Query(per_second("cascade_search_read_units_total", "mode"), "read, {{mode}}"),
                    Query(
                        per_second("cascade_search_rerank_units_total", "mode"), "rerank, {{mode}}"
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Load",
        (
            Panel(
                "Slots",
                "short",
                "Slots in use, and how many there are: the number adapts to the load.",
                (
                    Query(total("cascade_admission_slots_in_use", "job"), "in use"),
                    Query(total("cascade_admission_slots_limit", "job"), "limit"),
                    Query(total("cascade_admission_queue_length", "job"), "queued"),
                ),
            ),
            Panel(
                "Rejected requests",
                "reqps",
                "Requests that were answered with 503 because of overload.",
                (
                    Query(
                        per_second("cascade_admission_rejected_total", "instance"), "{{instance}}"
                    ),
                ),
            ),
            Panel(
                "Event loop lag, p99",
                "s",
                "How late the event loop runs a timer: every request waits as long.",
                (Query(quantile(0.99, LAG, "instance"), "{{instance}}"),),
            ),
            Panel(
                "CPU",
                "percentunit",
                "Processor time per second; 100 % is one core.",
                (Query(per_second("process_cpu_seconds_total", "instance"), "{{instance}}"),),
            ),
            Panel(
                "Memory",
                "bytes",
                "Resident memory of all workers.",
                (Query(total("process_resident_memory_bytes", "instance"), "{{instance}}"),),
            ),
        ),
    ),
    Row(
        "Pinecone",
        (
            Panel(
                "Reads",
                "ops",
                "Reads of each upstream, and those that the circuit breaker rejected.",
                (
                    Query(per_second("cascade_upstream_reads_total", "upstream"), "{{upstream}}"),
                    Query(
                        per_second("cascade_upstream_reads_rejected_total", "upstream"),
                        "{{upstream}} rejected",
                    ),
                ),
            ),
            Panel(
                "Second attempts",
                "ops",
                "Hedges of slow reads, and retries of failed ones.",
                (
                    Query(
                        per_second("cascade_upstream_hedges_total", "upstream"),
                        "{{upstream}} hedges",
                    ),
                    Query(
                        per_second("cascade_upstream_retries_total", "upstream"),
                        "{{upstream}} retries",
                    ),
                ),
            ),
            Panel(
                "Open circuits",
                "short",
                "Workers whose circuit breaker rejects reads.",
                (Query(total("cascade_upstream_circuit_open", "upstream"), "{{upstream}}"),),
            ),
            Panel(
                "Calls in flight",
                "short",
                "Calls to each upstream, writes and hedges included.",
                (Query(total("cascade_upstream_calls_in_flight", "upstream"), "{{upstream}}"),),
            ),
        ),
    ),
    Row(
        "Embedded engine and imports",
        (
            Panel(
                "Records",
                "short",
                "Records that searches see.",
                (Query(total("cascade_engine_records", "instance"), "{{instance}}"),),
            ),
            Panel(
                "Index on the disk",
                "bytes",
                "The size of the records and of each kind of view.",
                (Query(total("cascade_engine_size_bytes", "part"), "{{part}}"),),
            ),
            Panel(
                "Free space on the disk",
                "bytes",
                "New records are refused while less is free than the reserve.",
                (
                    Query(total("cascade_engine_disk_free_bytes", "instance"), "{{instance}}"),
                    Query(
                        total("cascade_engine_disk_reserve_bytes", "instance"),
                        "{{instance}} reserve",
                    ),
                ),
            ),
            Panel(
                "Pending changes",
                "short",
                "Changes that a view has yet to apply.",
                (Query(highest("cascade_engine_view_pending_changes", "view"), "{{view}}"),),
            ),
            Panel(
                "Imported records",
                "ops",
                "Records of imports that were written, or failed.",
                (Query(per_second("cascade_import_records_total", "outcome"), "{{outcome}}"),),
            ),
            Panel(
                "Imports",
                "short",
                "Imports in each state.",
                (Query(highest("cascade_imports", "status"), "{{status}}"),),
            ),
        ),
    ),
)
