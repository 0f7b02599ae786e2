"""Keeps what was used last, within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final

# An hour of video takes about 4 MB of index, a clip 2 MB of pictures, a high caption less than 2 MB; and a process
# works on few videos at a time.
CACHE_BYTES: Final = 128 * 1024 * 1024


class ByteCache:
    """Values by key, of which the least recently used go first. Threads share it.

    Whoever puts a value says how many bytes it takes; all values together take no more than the cache may hold.
    """

    def __init__(self, capacity: int) -> None:
        """Makes an empty cache of at most `capacity` bytes. One of 0 keeps nothing."""
        self._capacity = capacity
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """How many bytes the values take together."""
        return self._used

    def get(self, key: Hashable) -> Any:
        """Returns the value under a key, or None when there is none, or none any more."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: object, size: int) -> None:
        """Keeps a value of `size` bytes, replacing any; one that is larger than the whole cache is not kept."""
        with self._lock:
            self._used -= self._kept.pop(key, (None, 0))[1]
            if size > self._capacity:
                return
            self._kept[key] = (value, size)
            self._used += size
            while self._used > self._capacity:
                self._used -= self._kept.popitem(last=False)[1][1]
