"""Storage keys, and what the operating system's errors become."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.errors import InvalidArgument, StorageFull, StorageUnavailable
from longvideo.segments import Segment
from longvideo.storage import (
    DirectoryStore,
    caption_key,
    caption_prefix,
    check_key,
    index_key,
    source_key,
    storage_error,
    subtitles_key,
)

SHA = "ab" * 32


@given(st.text(max_size=40) | st.from_regex(r"[./A-Za-z0-9_-]{1,12}", fullmatch=True))
def test_a_key_stays_inside(key: str) -> None:
    """A key that is accepted names a file below the root, by exactly its own name, which is not hidden."""
    try:
        check_key(key)
    except InvalidArgument:
        return
    path = Path(os.path.normpath(Path("/root") / key))
    assert str(path) == f"/root/{key}"
    assert not any(part.startswith(".") for part in key.split("/"))


def test_long_keys() -> None:
    """A key longer than file systems and S3 allow is refused."""
    assert check_key("a" * 200)
    for key in ("a" * 201, "a/" * 500 + "a"):
        with pytest.raises(InvalidArgument):
            check_key(key)


def test_layout() -> None:
    """Every object has its place, and each of them is a key."""
    assert check_key(source_key(SHA)) == f"videos/{SHA}/source"
    assert check_key(index_key(SHA)) == f"videos/{SHA}/index"
    assert check_key(subtitles_key(SHA, "ff00")) == f"videos/{SHA}/subtitles/ff00"
    assert check_key(caption_key(SHA, 5, "0123", Segment((2, 4, 1)))) == f"captions/{SHA}/5/0123/2-4-1"
    assert caption_prefix(SHA, 5, "0123") == f"captions/{SHA}/5/0123/"


paths = st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple)


@given(paths, paths)
def test_every_segment_has_its_own_key(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Two segments share a key only when they are the same."""
    keys = {caption_key(SHA, 8, "d", Segment(path)) for path in (one, other)}
    assert len(keys) == len({one, other})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space(code: int) -> None:
    """A full disk and a used-up quota are StorageFull, naming the path and the fix."""
    error = storage_error(OSError(code, os.strerror(code)), Path("/data/a"))
    assert isinstance(error, StorageFull)
    assert "/data/a" in error.message
    assert "free some" in error.message


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_unusable(code: int) -> None:
    """Everything else is StorageUnavailable, naming the path and the fix."""
    error = storage_error(OSError(code, os.strerror(code)), Path("/data/a"))
    assert isinstance(error, StorageUnavailable)
    assert "/data/a" in error.message
    assert ";" in error.message


def test_no_hard_links(tmp_path: Path) -> None:
    """On a file system without hard links, writing once still has one winner."""
    store = DirectoryStore(tmp_path, link=_refuse)
    assert store.put_if_absent("a/b", b"first")
    assert not store.put_if_absent("a/b", b"second")
    film = tmp_path / "film"
    film.write_bytes(b"pictures")
    store.add_file("c", film)
    assert (tmp_path / "c").is_symlink()
    assert store.get("a/b") == b"first"
    assert sorted(store.list("")) == ["a/b", "c", "film"]


def _refuse(source: Path, target: Path) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), str(target))
