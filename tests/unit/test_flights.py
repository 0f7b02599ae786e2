"""Many who want one caption at one time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from caption_svc.flights import Flights, Wanted
from longvideo.errors import ResourceExhausted


def test_all_hear_what_the_first_heard() -> None:
    """An error of who makes the caption is raised for all who wait for it, with when to try again."""
    flights, waits = Flights(), threading.Event()

    def looked() -> bool:
        waits.set()
        return False

    def wait() -> bool:
        with flights.join("key", Wanted(time.monotonic() + 60, looked)) as first:
            return first

    def make(pool: ThreadPoolExecutor) -> None:
        with flights.join("key", Wanted(time.monotonic() + 60)) as first:
            assert first
            others.append(pool.submit(wait))
            assert waits.wait(30)
            busy = ResourceExhausted("no room", reason="SERVER_BUSY", limit="3")
            busy.retry_after = 7.0
            raise busy

    others = []
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ResourceExhausted):
            make(pool)
        with pytest.raises(ResourceExhausted, match="no room") as caught:
            others[0].result()
    assert (caught.value.reason, caught.value.metadata, caught.value.retry_after) == (
        "SERVER_BUSY",
        {"limit": "3"},
        7.0,
    )
