"""Reading an object ahead of its reader, without a server."""

from __future__ import annotations

import threading

import pytest

from longvideo.errors import StorageUnavailable
from longvideo.storage.s3_source import AHEAD_BYTES, S3Source


class Fetched:
    """Gives numbers as bytes, and remembers what was asked for."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def __call__(self, offset: int, length: int) -> bytes:
        with self._lock:
            self.ranges.append((offset, length))
        return bytes([offset % 251]) * min(length, 10)


def source(fetch: Fetched, size: int = 1 << 40) -> S3Source:
    """Returns a source of a very large object."""
    return S3Source("film", size, "1-a", fetch)


def test_no_more_is_fetched_ahead_than_there_is_room() -> None:
    """However much is announced, only so much is fetched before somebody reads it; the rest follows the reader."""
    fetch = Fetched()
    part = AHEAD_BYTES // 3
    ranges = [(number * part, part) for number in range(12)]
    with source(fetch) as film:
        film.prefetch(ranges)
        assert len(fetch.ranges) <= 3
        for done, (offset, length) in enumerate(ranges, start=1):
            assert film.read(offset, length) == bytes([offset % 251]) * 10
            assert len(fetch.ranges) <= done + 3
    assert sorted(fetch.ranges) == ranges


def test_what_nobody_announced_is_read_at_once() -> None:
    """A range that was not announced, or whose turn has not come, is fetched by its reader, once."""
    fetch = Fetched()
    with source(fetch) as film:
        film.prefetch([(0, AHEAD_BYTES), (100 << 20, AHEAD_BYTES), (200 << 20, AHEAD_BYTES)])
        film.read(200 << 20, AHEAD_BYTES)
        film.read(5, 5)
    assert fetch.ranges.count((200 << 20, AHEAD_BYTES)) == 1
    assert (5, 5) in fetch.ranges


def test_the_end_of_the_object() -> None:
    """A range is cut at the end of the object, and nothing is asked for beyond it."""
    fetch = Fetched()
    with source(fetch, size=100) as film:
        film.read(95, 50)
        assert film.read(100, 5) == b""
    assert fetch.ranges == [(95, 5)]


def test_a_failure_reaches_the_reader() -> None:
    """What goes wrong while fetching ahead is raised when the range is read."""

    def fetch(offset: int, length: int) -> bytes:
        raise StorageUnavailable("no")

    with S3Source("film", 1000, "1-a", fetch) as film:
        film.prefetch([(0, 10), (20, 10)])
        with pytest.raises(StorageUnavailable, match="no"):
            film.read(20, 10)


def test_a_closed_source() -> None:
    """A source that was closed reads nothing more, may be closed again, and ignores what is announced."""
    fetch = Fetched()
    film = source(fetch)
    film.close()
    film.close()
    film.prefetch([(0, 10), (20, 10)])
    with pytest.raises(StorageUnavailable, match="closed"):
        film.read(0, 1)
    assert fetch.ranges == []
