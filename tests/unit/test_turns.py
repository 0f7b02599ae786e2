"""Turns: a few at a time, some wait, and the others come again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from longvideo.errors import Cancelled, ResourceExhausted
from orchestrator.api.turns import Turns


def test_turns() -> None:
    """One works, one waits, and a third is told when to come again; then the second has its turn."""
    turns = Turns(1, 1, retry_after=7.0)
    waits, ends = threading.Event(), threading.Event()

    def second() -> str:
        with turns.taken("checked", waits.set):
            return "done"

    with ThreadPoolExecutor(1) as pool:
        with turns.taken("checked", lambda: None):
            waiting = pool.submit(second)
            assert waits.wait(30)
            with pytest.raises(ResourceExhausted, match="1 videos are being checked, and 1 more wait") as caught:
                turns.taken("checked", ends.set).__enter__()
            assert (caught.value.retry_after, caught.value.reason) == (7.0, "SERVER_BUSY")
        assert waiting.result() == "done"
    with turns.taken("checked", lambda: None):
        pass


def test_who_goes_while_waiting() -> None:
    """A caller that has gone waits no more, and its place is free again."""
    turns = Turns(1, 1)

    def gone() -> None:
        raise Cancelled("the caller has gone")

    with turns.taken("checked", lambda: None):
        for _ in range(3):
            with pytest.raises(Cancelled), turns.taken("checked", gone):
                pytest.fail("there was no turn")
