"""Many who want one thing at one time: the first makes it, the others wait."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from longvideo.errors import Cancelled, DeadlineExceeded, LongVideoError

# How often someone who waits looks whether the answer is still wanted.
PATIENCE_SECONDS = 0.5


@dataclass(frozen=True)
class Wanted:
    """Until when, on `time.monotonic`'s clock, and whether still, an answer is wanted."""

    deadline: float
    cancelled: Callable[[], bool] = lambda: False

    def slice(self) -> float:
        """Returns the seconds to wait before asking again. Raises Cancelled, and DeadlineExceeded."""
        if self.cancelled():
            raise Cancelled("The call was cancelled.")
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("The time allowed has passed.")
        return min(left, PATIENCE_SECONDS)


@dataclass
class _Flight:
    landed: threading.Event = field(default_factory=threading.Event)
    error: LongVideoError | None = None


class Flights:
    """What is being made in this process, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def join(self, key: str, wanted: Wanted) -> Iterator[bool]:
        """Gives True to the first, who is to make the thing, and False to everybody else once that is done.

        What the first one raises is raised for all, without the calls, which are the first one's; but if it only ran
        out of time or was cancelled, the others may try. Raises Cancelled and DeadlineExceeded as `wanted` says.
        """
        with self._lock:
            flight = self._flights.get(key)
            first = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
        if first:
            with self._landing(key, flight):
                yield True
            return
        while not flight.landed.wait(wanted.slice()):
            continue
        error = flight.error
        if error is not None and not isinstance(error, Cancelled | DeadlineExceeded):
            told = type(error)(error.message, reason=error.reason, **error.metadata)
            told.retry_after = error.retry_after
            raise told from error
        yield False

    @contextlib.contextmanager
    def _landing(self, key: str, flight: _Flight) -> Iterator[None]:
        try:
            yield
        except LongVideoError as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()
