"""Keeping the leases of the episodes that this process works on.

One thread renews them all, also while an episode waits in a long model call, and notices which were lost and which
belong to jobs that somebody cancelled. So asking whether to go on costs an episode nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

from longvideo.errors import Cancelled, LongVideoError, StorageFull, StorageUnavailable
from orchestrator.store import LeaseLost, Work

logger = logging.getLogger(__name__)

# How soon a cancelled job is noticed, in seconds.
LOOK_SECONDS = 0.5

# How many times a lease is renewed before it would end.
_RENEWALS = 6

# How long a database may be away, as while its server restarts, until what a model has said is given up; and how soon
# it is tried again first.
_INSIST_SECONDS, _FIRST_PAUSE = 120.0, 0.1

T = TypeVar("T")


class Abandoned(Cancelled):
    """This process stops; another, or its next life, goes on with the episode."""

    default_reason = "WORKER_STOPPING"


class Lease:
    """The lease of one episode, as its worker sees it."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._ended: type[Cancelled] | None = None
        self._handing_over = False

    def end(self, why: type[Cancelled]) -> None:
        """Makes `check` raise from now on. The first reason stays."""
        self._ended = self._ended or why

    def check(self) -> None:
        """Raises LeaseLost, Abandoned, or Cancelled when the job was cancelled; else returns."""
        if self._ended is not None:
            raise self._ended("the episode must not go on here")

    def hand_over(self) -> None:
        """Makes the lease end when its worker comes to the end of a round."""
        self._handing_over = True

    def check_between_rounds(self) -> None:
        """Raises what `check` raises, and Abandoned after `hand_over`. That is then why the lease ended."""
        if self._handing_over:
            self.end(Abandoned)
        self.check()


def insist(lease: Lease, write: Callable[[], T]) -> T | None:
    """Writes down what must not get lost, trying again while the database is away or full and the lease has not ended.

    Returns None when an attempt whose success was not heard of had done it. Raises what `lease.check` raises, and
    StorageUnavailable or StorageFull when that stays so.
    """
    until, pause = time.monotonic() + _INSIST_SECONDS, _FIRST_PAUSE
    while True:
        try:
            return write()
        except (StorageUnavailable, StorageFull) as error:
            lease.check()
            if time.monotonic() + pause > until:
                raise
            logger.warning("trying again: %s", error.message)
        except IntegrityError:
            if pause == _FIRST_PAUSE:
                raise
            return None
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


class Keeper:
    """Renews and watches the leases of one process. Starts its thread with the first lease; `stop` ends it.

    When the process is to stop in good order, `hand_over` comes first.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._none = threading.Condition(self._lock)
        self._handing_over = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def stopping(self) -> bool:
        """Whether `hand_over` or `stop` was called."""
        return self._handing_over or self._stopping.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits, and tells whether `stop` was called."""
        return self._stopping.wait(seconds)

    def add(self, lease: Lease) -> None:
        """Keeps a lease that was just acquired."""
        with self._lock:
            self._leases[lease.owner] = lease
            if self.stopping:
                lease.end(Abandoned)
            if self._stopping.is_set():
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        """Keeps a lease no longer."""
        with self._lock:
            self._leases.pop(lease.owner, None)
            if not self._leases:
                self._none.notify_all()

    def hand_over(self, seconds: float) -> None:
        """Lets every episode of this process go on to the end of its round, and waits for that, but not for ever."""
        with self._lock:
            self._handing_over = True
            for lease in self._leases.values():
                lease.hand_over()
            self._none.wait_for(lambda: not self._leases, seconds)

    def stop(self) -> None:
        """Tells every episode of this process to stop where it stands, and keeps no lease any longer."""
        self._stopping.set()
        with self._lock:
            for lease in self._leases.values():
                lease.end(Abandoned)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        renewed = time.monotonic()
        pause = self._work.lease_seconds / _RENEWALS
        while not self._stopping.wait(min(LOOK_SECONDS, pause)):
            with self._lock:
                leases = dict(self._leases)
            if not leases:
                continue
            try:
                if time.monotonic() - renewed >= pause:
                    self._work.renew(leases)
                    renewed = time.monotonic()
                self._look(leases)
            except LongVideoError as error:  # the database is away; leases last a while
                logger.warning("cannot look after the leases: %s", error)

    def _look(self, leases: dict[str, Lease]) -> None:
        states = self._work.states(leases)
        for owner, lease in leases.items():
            if owner not in states:
                lease.end(LeaseLost)
            elif states[owner]:
                lease.end(Cancelled)
