"""The bytes of an object, by range, fetched ahead of their reader."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from longvideo.errors import StorageUnavailable

# More requests at once gain little on one connection's bandwidth, and a server may slow a client down that does more.
AT_ONCE: Final = 4
# What was fetched and not read yet takes no more than this, so that memory stays bounded by the frames wanted.
AHEAD_BYTES: Final = 24 << 20

Range = tuple[int, int]


class S3Source:
    """A ByteSource over one version of an object."""

    def __init__(self, name: str, size: int, version: str, fetch: Callable[[int, int], bytes]) -> None:
        """Makes a source whose `fetch(offset, length)` asks the server, and may be called from several threads."""
        self.name = name
        self.size = size
        self.version = version
        self._fetch = fetch
        self._ahead = _Ahead(fetch)
        self._closed = False

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`, fewer only at the end. Raises VideoChanged and StorageUnavailable."""
        if self._closed:
            raise StorageUnavailable(f"{self.name} was closed; open it again")
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        fetched = self._ahead.take((offset, length))
        return self._fetch(offset, length) if fetched is None else fetched.result()

    def prefetch(self, ranges: Sequence[Range]) -> None:
        """Fetches ranges ahead, in their order, a few at once. Those announced before and not read are given up."""
        if not self._closed and len(ranges) > 1:
            self._ahead.replace(ranges)

    def close(self) -> None:
        """Ends what is under way. Closing twice is allowed."""
        self._closed = True
        self._ahead.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Ahead:
    """Ranges that wait to be fetched, and those that are fetched and wait for their reader."""

    def __init__(self, fetch: Callable[[int, int], bytes]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: OrderedDict[Range, None] = OrderedDict()
        self._started: dict[Range, Future[bytes]] = {}
        self._bytes = 0

    def replace(self, ranges: Sequence[Range]) -> None:
        with self._lock:
            for future in self._started.values():
                future.cancel()
            self._started.clear()
            self._bytes = 0
            self._waiting = OrderedDict.fromkeys(ranges)
            self._start()

    def take(self, wanted: Range) -> Future[bytes] | None:
        """Returns what will hold the range, or None when the reader has to fetch it now."""
        with self._lock:
            self._waiting.pop(wanted, None)
            future = self._started.pop(wanted, None)
            if future is not None:
                self._bytes -= wanted[1]
                self._start()
            return future

    def _start(self) -> None:
        """Starts as many requests as there is room for; one that is too large for the room goes alone."""
        while self._waiting:
            following = next(iter(self._waiting))
            if self._started and self._bytes + following[1] > AHEAD_BYTES:
                return
            del self._waiting[following]
            self._pool = self._pool or ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3")
            self._started[following] = self._pool.submit(self._fetch, *following)
            self._bytes += following[1]

    def close(self) -> None:
        with self._lock:
            self._waiting.clear()
            self._started.clear()
            pool, self._pool = self._pool, None
        if pool is not None:
            # What nobody waits for any more may end by itself.
            pool.shutdown(wait=False, cancel_futures=True)
