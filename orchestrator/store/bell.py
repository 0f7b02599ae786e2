"""Tells those who wait in this process that a job has changed, so that they need not look again and again."""

from __future__ import annotations

import threading


class Bell:
    """One condition for each job that somebody waits for."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rung: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    def ring(self, job_id: str) -> None:
        """Wakes those who wait for a job."""
        with self._condition:
            if job_id in self._waiting:
                self._rung[job_id] = self._rung.get(job_id, 0) + 1
                self._condition.notify_all()

    def listen(self, job_id: str) -> Listener:
        """Returns a listener, which also hears what is rung between two waits. Use it as a context."""
        return Listener(self, job_id)

    def _enter(self, job_id: str) -> int:
        with self._condition:
            self._waiting[job_id] = self._waiting.get(job_id, 0) + 1
            return self._rung.setdefault(job_id, 0)

    def _leave(self, job_id: str) -> None:
        with self._condition:
            self._waiting[job_id] -= 1
            if not self._waiting[job_id]:
                del self._waiting[job_id], self._rung[job_id]

    def _wait(self, job_id: str, heard: int, timeout: float) -> int:
        with self._condition:
            self._condition.wait_for(lambda: self._rung[job_id] != heard, timeout)
            return self._rung[job_id]


class Listener:
    """Somebody who waits for one job."""

    def __init__(self, bell: Bell, job_id: str) -> None:
        self._bell, self._job_id = bell, job_id
        self._heard = 0

    def __enter__(self) -> Listener:
        self._heard = self._bell._enter(self._job_id)
        return self

    def __exit__(self, *_: object) -> None:
        self._bell._leave(self._job_id)

    def wait(self, timeout: float) -> bool:
        """Waits at most `timeout` seconds for a ring since the last wait, and tells whether there was one."""
        heard = self._bell._wait(self._job_id, self._heard, timeout)
        rung, self._heard = heard != self._heard, heard
        return rung
