"""Fair lock: mutual exclusion in the order of the requests."""

from __future__ import annotations

import threading
import time

import pytest

from service.embedded.storage.fair_lock import FairLock


def test_fair_lock_is_exclusive() -> None:
    turns = FairLock()
    count = 0

    def work() -> None:
        nonlocal count
        for _ in range(300):
            with turns:
                before = count
                time.sleep(0)
                count = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 1200


def test_fair_lock_is_granted_in_order_despite_looping_thread() -> None:
    turns = FairLock()
    order: list[str] = []
    asking, done = threading.Event(), threading.Event()

    def loop() -> None:
        while not done.is_set() and len(order) < 5000:
            with turns:
                order.append("loop")
                asking.wait(60)

    def ask() -> None:
        for _ in range(20):
            asking.set()
            with turns:
                order.append("ask")
        done.set()

    threads = [threading.Thread(target=target) for target in (loop, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order.count("ask") == 20
    assert order.count("loop") < 5000


def test_fair_lock_is_released_after_error() -> None:
    turns = FairLock()
    with pytest.raises(ZeroDivisionError), turns:
        _ = 1 / 0
    with turns:
        pass
