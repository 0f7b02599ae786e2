"""Byte sources: ranges of files, refusals, and files that change."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longvideo.errors import InvalidArgument, StorageUnavailable, VideoChanged
from longvideo.video import FileSource
from longvideo.video.source import SourceReader


def write(path: Path, data: bytes) -> Path:
    """Writes a file and returns its path."""
    path.write_bytes(data)
    return path


def test_a_file_source_reads_any_range(tmp_path: Path) -> None:
    """A range is returned whole, and shorter only where the file ends."""
    with FileSource(write(tmp_path / "a.mp4", b"0123456789")) as source:
        assert (source.name, source.size) == ("a.mp4", 10)
        assert source.read(2, 3) == b"234"
        assert source.read(8, 5) == b"89"
        assert source.read(20, 5) == b""
        assert source.read(3, 0) == b""


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "FILE_NOT_FOUND"),
        (lambda path: path.mkdir(), "FILE_NOT_REGULAR"),
        (os.mkfifo, "FILE_NOT_REGULAR"),
    ],
    ids=["missing", "directory", "pipe"],
)
def test_what_is_no_file_is_refused_with_its_path(tmp_path: Path, make: object, reason: str) -> None:
    """A missing file, a directory and a named pipe are refused at once, and the message names the path."""
    path = tmp_path / "video.mp4"
    assert callable(make)
    make(path)
    with pytest.raises(InvalidArgument, match=str(path)) as caught:
        FileSource(path)
    assert caught.value.reason == reason


def test_a_path_no_system_allows_is_refused() -> None:
    """A path with a NUL character is an invalid argument, not a crash."""
    with pytest.raises(InvalidArgument) as caught:
        FileSource("a\0b")
    assert caught.value.reason == "FILE_UNREADABLE"


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    """Once the file is written to, no more of its bytes are returned."""
    path = write(tmp_path / "a.mp4", b"old" * 100)
    with FileSource(path) as source:
        source.read(0, 3)
        path.write_bytes(b"newer" * 100)
        with pytest.raises(VideoChanged, match=r"a\.mp4"):
            source.read(0, 3)


def test_the_version_tells_two_contents_apart(tmp_path: Path) -> None:
    """The version is the same for the same file, and another after a change."""
    path = write(tmp_path / "a.mp4", b"one")
    with FileSource(path) as first, FileSource(path) as second:
        assert first.version == second.version
    os.utime(path, ns=(1, 1))
    with FileSource(path) as third:
        assert third.version != first.version


def test_a_closed_source_says_so(tmp_path: Path) -> None:
    """Closing twice is harmless, and reading afterwards is an error of the storage."""
    source = FileSource(write(tmp_path / "a.mp4", b"x"))
    source.close()
    source.close()
    with pytest.raises(StorageUnavailable):
        source.read(0, 1)


class Bytes:
    """A source in memory that counts its reads."""

    name, version = "memory", "1"

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.reads = data, len(data), 0

    def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return self.data[offset : offset + length]

    def close(self) -> None: ...

    def __enter__(self) -> Bytes:
        return self

    def __exit__(self, *_: object) -> None: ...


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["read", "seek", "end"]), st.integers(0, 4000)), max_size=20))
def test_a_source_reader_behaves_like_a_file(steps: list[tuple[str, int]]) -> None:
    """Reads and seeks give what the same calls on a file in memory give."""
    data = bytes(range(256)) * 12
    ours, theirs = SourceReader(Bytes(data)), io.BytesIO(data)
    ours.BLOCK = 700
    for action, amount in steps:
        if action == "read":
            assert ours.read(amount) == theirs.read(amount)
        elif action == "seek":
            assert ours.seek(amount) == theirs.seek(amount)
        else:
            assert ours.seek(-min(amount, len(data)), io.SEEK_END) == theirs.seek(-min(amount, len(data)), io.SEEK_END)
        assert ours.tell() == theirs.tell()


def test_a_source_reader_reads_blocks_once() -> None:
    """Many small reads near each other cost one read of the source."""
    source = Bytes(bytes(5000))
    reader = SourceReader(source)
    for offset in range(0, 4000, 10):
        reader.peek(offset, 100)
    assert source.reads == 1


def test_a_source_reader_takes_more_at_once_as_it_goes_on() -> None:
    """Reading a file from its start to its end costs few reads, and a seek reads one block again."""
    source = Bytes(bytes(range(250)) * 400)
    reader = SourceReader(source)
    reader.BLOCK = 1000
    parts = []
    while part := reader.read(300):
        parts.append(part)
    assert b"".join(parts) == source.data
    assert source.reads == 15  # 1 + 2 + 4 blocks, and then 8 at a time
    reader.seek(500)
    assert reader.read(10) == source.data[500:510]
    assert source.reads == 16
    assert reader.read(600) == source.data[510:1110]
    assert source.reads == 17
