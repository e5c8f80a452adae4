"""The circuit breaker: when it opens, its probes, when it closes; and the latency tracker."""

from __future__ import annotations

from service.indexes.circuit_breaker import FAILURE_THRESHOLD, PROBE_INTERVAL_S, CircuitBreaker
from service.indexes.latency_tracker import MAX_IDLE_S, MIN_SAMPLES, LatencyTracker
from tests.clock import Clock


def open_circuit(clock: Clock) -> CircuitBreaker:
    circuit = CircuitBreaker(clock)
    for _ in range(FAILURE_THRESHOLD):
        assert circuit.allows_call()
        circuit.record_failure()
    return circuit


def test_circuit_breaker_opens_after_consecutive_failures() -> None:
    circuit = open_circuit(Clock())
    assert circuit.is_open
    assert not circuit.allows_call()


def test_circuit_breaker_stays_closed_if_a_success_comes_between() -> None:
    circuit = CircuitBreaker(Clock())
    for _ in range(5 * FAILURE_THRESHOLD):
        for _ in range(FAILURE_THRESHOLD - 1):
            circuit.record_failure()
        circuit.record_success()
    assert circuit.allows_call()


def test_open_circuit_breaker_allows_one_probe_per_interval() -> None:
    """Even if the previous probe has not finished: it may hang."""
    clock = Clock()
    circuit = open_circuit(clock)
    allowed = 0
    for _ in range(100):
        clock.now += PROBE_INTERVAL_S / 10
        allowed += circuit.allows_call()
    assert allowed == 10


def test_circuit_breaker_closes_after_the_first_successful_probe() -> None:
    clock = Clock()
    circuit = open_circuit(clock)
    clock.now += PROBE_INTERVAL_S
    assert circuit.allows_call()
    circuit.record_failure()
    assert not circuit.allows_call()
    clock.now += PROBE_INTERVAL_S
    assert circuit.allows_call()
    circuit.record_success()
    assert all(circuit.allows_call() for _ in range(10))


def test_latency_tracker_has_no_quantiles_before_enough_samples() -> None:
    latencies = LatencyTracker(Clock())
    for _ in range(MIN_SAMPLES - 1):
        latencies.add(0.02)
    assert latencies.p50 is None
    assert latencies.p95 is None
    latencies.add(0.02)
    assert latencies.p50 == latencies.p95 == 0.02


def test_latency_tracker_uses_only_the_latest_samples() -> None:
    latencies = LatencyTracker(Clock())
    for _ in range(1000):
        latencies.add(5.0)
    for number in range(256):
        latencies.add(number / 1000)
    assert latencies.p50 == 0.128
    assert latencies.p95 == 0.243


def test_latency_tracker_drops_old_samples() -> None:
    clock = Clock()
    latencies = LatencyTracker(clock)
    for _ in range(MIN_SAMPLES):
        latencies.add(5.0)
    clock.now += MAX_IDLE_S + 1
    assert latencies.p50 is None
    for _ in range(MIN_SAMPLES):
        latencies.add(0.01)
    assert latencies.p50 == 0.01
