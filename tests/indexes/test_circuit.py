"""A circuit keeps calls away from what is down, and finds out when it is back."""

from __future__ import annotations

from service.indexes.circuit import FAILURES, PROBE_S, Circuit
from service.indexes.latencies import ENOUGH, FORGET_S, Latencies
from tests.clock import Clock


def opened(clock: Clock) -> Circuit:
    circuit = Circuit(clock)
    for _ in range(FAILURES):
        assert circuit.admits()
        circuit.failed()
    return circuit


def test_failures_in_a_row_open_it() -> None:
    circuit = opened(Clock())
    assert circuit.open
    assert not circuit.admits()


def test_an_answer_in_between_keeps_it_closed() -> None:
    circuit = Circuit(Clock())
    for _ in range(5 * FAILURES):
        for _ in range(FAILURES - 1):
            circuit.failed()
        circuit.answered()
    assert circuit.admits()


def test_one_call_a_second_goes_to_see() -> None:
    """Whether or not the one before has come back: it may hang."""
    clock = Clock()
    circuit = opened(clock)
    admitted = 0
    for _ in range(100):
        clock.now += PROBE_S / 10
        admitted += circuit.admits()
    assert admitted == 10


def test_the_first_answer_closes_it() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now += PROBE_S
    assert circuit.admits()
    circuit.failed()
    assert not circuit.admits()
    clock.now += PROBE_S
    assert circuit.admits()
    circuit.answered()
    assert all(circuit.admits() for _ in range(10))


def test_nothing_is_known_of_a_few_latencies() -> None:
    latencies = Latencies(Clock())
    for _ in range(ENOUGH - 1):
        latencies.add(0.02)
    assert latencies.p50 is None
    assert latencies.p95 is None
    latencies.add(0.02)
    assert latencies.p50 == latencies.p95 == 0.02


def test_the_last_few_hundred_latencies_count() -> None:
    latencies = Latencies(Clock())
    for _ in range(1000):
        latencies.add(5.0)
    for n in range(256):
        latencies.add(n / 1000)
    assert latencies.p50 == 0.128
    assert latencies.p95 == 0.243


def test_old_latencies_are_forgotten() -> None:
    clock = Clock()
    latencies = Latencies(clock)
    for _ in range(ENOUGH):
        latencies.add(5.0)
    clock.now += FORGET_S + 1
    assert latencies.p50 is None
    for _ in range(ENOUGH):
        latencies.add(0.01)
    assert latencies.p50 == 0.01
