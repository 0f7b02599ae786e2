"""Waiting for a job to change."""

from __future__ import annotations

import threading

from orchestrator.store import Bell


def test_listener_hears_what_was_rung_before_it_waits() -> None:
    """A ring between two waits is heard by the second, once."""
    bell = Bell()
    with bell.listen("j") as listener:
        bell.ring("j")
        assert listener.wait(0)
        assert not listener.wait(0)


def test_other_jobs_are_not_heard() -> None:
    """A listener hears its own job alone."""
    bell = Bell()
    with bell.listen("j") as listener:
        bell.ring("k")
        assert not listener.wait(0)


def test_everybody_wakes() -> None:
    """One ring wakes all who wait for the job, and nothing of them is kept when they have left."""
    bell, waiting, heard = Bell(), threading.Barrier(4), list[bool]()

    def wait() -> None:
        with bell.listen("j") as listener:
            waiting.wait()
            heard.append(listener.wait(10))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting.wait()
    bell.ring("j")
    for thread in threads:
        thread.join()
    assert heard == [True] * 3
    assert not bell._rung
    assert not bell._waiting
