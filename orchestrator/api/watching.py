"""Watching jobs. Each watcher holds one thread of the server, so there can be only so many at one time."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Iterator

import grpc

from longvideo import auth
from longvideo.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from longvideo.resources import JobName
from longvideo.rpc import HOP_SECONDS
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.store import Database

# Each asks the database now and then. A server with few threads takes half as many watchers as it has threads: the
# others stay free for calls that end soon.
MAX_WATCHERS = 32

# A change made by this process is heard at once. One that another process made is looked for this often, in seconds;
# the less happens, the less often.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.5
_BATCH = 100

# When to come again where there was no place to watch from.
_RETRY_SECONDS = 10.0


class Watching:
    """Streams of events."""

    def __init__(self, database: Database, max_watchers: int = MAX_WATCHERS) -> None:
        self._database = database
        self._max_watchers = max_watchers
        self._places = collections.Counter[str]()
        self._lock = threading.Lock()
        self._stopping = False

    def stop(self) -> None:
        """Ends every stream soon: a job may take longer than a server that is to stop can wait."""
        self._stopping = True

    def watch(self, name: JobName, position: int, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        """Yields a job's events after a position until the job has ended or the caller has gone.

        Raises NotFound, DeadlineExceeded, ResourceExhausted when too many are watching, and Unavailable after `stop`.
        """
        with self._place(auth.current()):
            context.add_callback(lambda: self._database.bell.ring(name.job_id))
            yield from self._events(name, position, context)

    @contextlib.contextmanager
    def _place(self, caller: auth.Caller) -> Iterator[None]:
        """Gives a caller a place, of which one tenant of several may have half. Raises ResourceExhausted."""
        share = self._max_watchers if caller is auth.LOCAL else max(1, self._max_watchers // 2)
        with self._lock:
            taken = self._places.total()
            if taken >= self._max_watchers:
                raise _no_place(f"{taken} callers are watching jobs already", "TOO_MANY_WATCHERS")
            if self._places[caller.tenant] >= share:
                raise _no_place(f"{share} callers of your tenant are watching jobs already", "TENANT_WATCHERS")
            self._places[caller.tenant] += 1
        try:
            yield
        finally:
            with self._lock:
                self._places[caller.tenant] -= 1
                self._places += collections.Counter()  # forgets those that have none

    def _events(self, name: JobName, position: int, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        pause = _FIRST_PAUSE
        with self._database.bell.listen(name.job_id) as listener:
            while context.is_active():
                if self._stopping:
                    raise Unavailable(
                        "the server is stopping; watch again from the last position seen", reason="SERVER_STOPPING"
                    )
                last, ended = self._database.jobs.position(name)
                if last > position:
                    pause = _FIRST_PAUSE
                    for event in self._database.jobs.events(name.job_id, position, _BATCH):
                        yield event
                        position = event.position
                elif ended:
                    return
                else:
                    left = _time_left(context)
                    if not listener.wait(min(pause, left)):
                        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _no_place(what: str, reason: str) -> ResourceExhausted:
    error = ResourceExhausted(f"{what}; try again later, with the last position seen", reason=reason)
    error.retry_after = _RETRY_SECONDS
    return error


def _time_left(context: grpc.ServicerContext) -> float:
    remaining = context.time_remaining()
    left = float("inf") if remaining is None else remaining - HOP_SECONDS
    if left <= 0:
        raise DeadlineExceeded("the job has not ended within the time allowed; watch again from the last position seen")
    return left
