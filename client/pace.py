"""How fast bytes go, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable

from client import words

# How often somebody who only gets lines is told.
LINE_SECONDS = 10.0


class Pace:
    """Follows one upload. Threads must take turns."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = self._told = 0.0
        self._first = self._done = self._total = 0.0

    def moved(self, done: float, total: float) -> None:
        """Takes note of how many bytes have arrived, and of how many."""
        if not self._total:
            self._start = self._told = self._clock()
            self._first = done
        self._done, self._total = done, total

    def line_is_due(self) -> bool:
        """Tells whether it is time for another line."""
        now = self._clock()
        if now - self._told < LINE_SECONDS:
            return False
        self._told = now
        return True

    @property
    def resumed(self) -> float:
        """How many bytes were there before."""
        return self._first

    @property
    def any(self) -> bool:
        """Whether there was anything to send."""
        return self._total > 0

    def now(self) -> str:
        """Returns `412 MB of 1.4 GB, 35 MB/s, 0:28 left`."""
        text = f"{words.size(int(self._done))} of {words.size(int(self._total))}"
        rate = self._rate()
        if rate <= 0:
            return text
        return f"{text}, {words.size(int(rate))}/s, {words.clock((self._total - self._done) / rate)} left"

    def all(self) -> str:
        """Returns `1.4 GB in 0:41, 34 MB/s`."""
        took, rate = self._clock() - self._start, self._rate()
        speed = f", {words.size(int(rate))}/s" if rate > 0 else ""
        return f"{words.size(int(self._done - self._first))} in {words.clock(took, fine=True)}{speed}"

    def _rate(self) -> float:
        took = self._clock() - self._start
        return max(0.0, self._done - self._first) / took if took > 0 else 0.0
