"""A circuit keeps calls away from what is down, and finds out when it is back."""

from __future__ import annotations

from service.indexes.circuit_breaker import FAILURE_THRESHOLD, PROBE_INTERVAL_S, CircuitBreaker
from service.indexes.latency_tracker import MAX_IDLE_S, MIN_SAMPLES, LatencyTracker
from tests.clock import Clock


def opened(clock: Clock) -> CircuitBreaker:
    circuit = CircuitBreaker(clock)
    for _ in range(FAILURE_THRESHOLD):
        assert circuit.allows_call()
        circuit.record_failure()
    return circuit


def test_failures_in_a_row_open_it() -> None:
    circuit = opened(Clock())
    assert circuit.is_open
    assert not circuit.allows_call()


def test_an_answer_in_between_keeps_it_closed() -> None:
    circuit = CircuitBreaker(Clock())
    for _ in range(5 * FAILURE_THRESHOLD):
        for _ in range(FAILURE_THRESHOLD - 1):
            circuit.record_failure()
        circuit.record_success()
    assert circuit.allows_call()


def test_one_call_a_second_goes_to_see() -> None:
    """Whether or not the one before has come back: it may hang."""
    clock = Clock()
    circuit = opened(clock)
    admitted = 0
    for _ in range(100):
        clock.now += PROBE_INTERVAL_S / 10
        admitted += circuit.allows_call()
    assert admitted == 10


def test_the_first_answer_closes_it() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now += PROBE_INTERVAL_S
    assert circuit.allows_call()
    circuit.record_failure()
    assert not circuit.allows_call()
    clock.now += PROBE_INTERVAL_S
    assert circuit.allows_call()
    circuit.record_success()
    assert all(circuit.allows_call() for _ in range(10))


def test_nothing_is_known_of_a_few_latencies() -> None:
    latencies = LatencyTracker(Clock())
    for _ in range(MIN_SAMPLES - 1):
        latencies.add(0.02)
    assert latencies.p50 is None
    assert latencies.p95 is None
    latencies.add(0.02)
    assert latencies.p50 == latencies.p95 == 0.02


def test_the_last_few_hundred_latencies_count() -> None:
    latencies = LatencyTracker(Clock())
    for _ in range(1000):
        latencies.add(5.0)
    for n in range(256):
        latencies.add(n / 1000)
    assert latencies.p50 == 0.128
    assert latencies.p95 == 0.243


def test_old_latencies_are_forgotten() -> None:
    clock = Clock()
    latencies = LatencyTracker(clock)
    for _ in range(MIN_SAMPLES):
        latencies.add(5.0)
    clock.now += MAX_IDLE_S + 1
    assert latencies.p50 is None
    for _ in range(MIN_SAMPLES):
        latencies.add(0.01)
    assert latencies.p50 == 0.01
