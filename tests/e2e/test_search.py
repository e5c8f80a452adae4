"""`search` as a process."""

from __future__ import annotations

import os
import pty

import pytest

from tests.e2e.command import started
from tests.fake_service import fake_service


@pytest.mark.parametrize("no_color", ["", "1"])
def test_search_emphasis_only_on_terminals(no_color: str) -> None:
    leader, follower = pty.openpty()
    with fake_service() as service:
        with started(
            "search",
            "x",
            "--url",
            service.address,
            stdout=follower,
            NO_COLOR=no_color,
            TERM="xterm",
        ) as process:
            os.close(follower)
            assert process.wait(60) == 0
    shown = os.read(leader, 65536)
    os.close(leader)
    assert b"one" in shown
    assert (b"\x1b[1mone" in shown) is (not no_color)
    assert (b"\x1b" in shown) is (not no_color)


def test_search_into_a_closed_pipe_ends_quietly() -> None:
    with fake_service() as service, started("search", "x", "--url", service.address) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == ""
        assert process.wait(60) == 141
