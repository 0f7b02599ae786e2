"""A few at a time: what costs a process much, and whose callers can wait or come again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from longvideo.errors import ResourceExhausted

# How soon it is noticed that a caller has gone.
_SLICE_SECONDS = 0.5


class Turns:
    """Lets so many at a time do something, lets some more wait for it, and sends the others away for a while."""

    def __init__(self, at_once: int, waiting: int, retry_after: float = 10.0) -> None:
        self._at_once, self._limit, self._retry_after = at_once, at_once + waiting, retry_after
        self._turns = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._count = 0

    @contextlib.contextmanager
    def taken(self, what: str, check: Callable[[], object]) -> Iterator[None]:
        """Gives a turn. Raises ResourceExhausted when too many wait, and what `check` raises, which is called often."""
        with self._lock:
            if self._count == self._limit:
                error = ResourceExhausted(
                    f"{self._at_once} videos are being {what}, and {self._limit - self._at_once} more wait; call again "
                    f"in {self._retry_after:.0f} s",
                    reason="SERVER_BUSY",
                )
                error.retry_after = self._retry_after
                raise error
            self._count += 1
        try:
            while not self._turns.acquire(timeout=_SLICE_SECONDS):
                check()
            try:
                yield
            finally:
                self._turns.release()
        finally:
            with self._lock:
                self._count -= 1
