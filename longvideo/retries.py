"""How many retries there may be, all requests together."""

from __future__ import annotations

import threading


class RetryBudget:
    """Keeps retries from multiplying the load on servers that are already failing.

    A retry takes one from the budget, an answer gives a tenth back. First attempts are never refused.
    """

    def __init__(self, capacity: int = 100) -> None:
        """Makes a budget, full, of at most `capacity` retries."""
        self._capacity = capacity * 10
        self._tenths = self._capacity
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Returns whether another attempt may be made, and counts it."""
        with self._lock:
            if self._tenths < 10:
                return False
            self._tenths -= 10
            return True

    def give_back(self) -> None:
        """Notes an answer."""
        with self._lock:
            self._tenths = min(self._capacity, self._tenths + 1)
