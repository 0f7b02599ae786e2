"""The object stores, each under the same suite, and what is particular to a directory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from longvideo.errors import DeadlineExceeded, NotFound, StorageFull, StorageUnavailable
from longvideo.storage import DirectoryStore, ObjectStore
from longvideo.testing import MemoryStore
from tests.contract.object_store import ObjectStoreSuite, PartUploadsSuite, Write


class TestDirectoryStore(ObjectStoreSuite):
    """A directory is an object store."""

    @pytest.fixture
    def stores(self, tmp_path: Path) -> Callable[[], ObjectStore]:
        """Opens one directory, with a space in its name."""
        return lambda: DirectoryStore(tmp_path / "data dir")

    @pytest.fixture
    def write(self, stores: Callable[[], ObjectStore]) -> Write:
        """Writes to a `file:` URI, as a client does: by putting a file in its place."""
        return lambda uri, data: put_into_place(Path(unquote(urlsplit(uri).path)), data)

    def test_no_parts(self, store: ObjectStore) -> None:
        """A directory takes files of any size at once, and has no other buckets beside it."""
        assert store.parts is None
        assert store.imports is None


def put_into_place(path: Path, data: bytes) -> None:
    """Writes a file beside its place, and moves it there."""
    beside = path.with_name(".written")
    beside.write_bytes(data)
    beside.replace(path)


class TestMemoryStore(PartUploadsSuite, ObjectStoreSuite):
    """The store that tests use is an object store."""

    @pytest.fixture
    def stores(self, tmp_path: Path) -> Callable[[], ObjectStore]:
        """Gives one store."""
        store = MemoryStore()
        return lambda: store

    @pytest.fixture
    def write(self, stores: Callable[[], ObjectStore]) -> Write:
        """Writes to a `memory:` URI."""
        store = stores()
        assert isinstance(store, MemoryStore)
        return store.write


def files(root: Path) -> list[str]:
    """Returns every file below a directory, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Makes the kernel refuse to let any file grow beyond `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Gives up what only root may."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_full_disk(tmp_path: Path) -> None:
    """A write that the disk refuses half-way says so, leaves the old object, and leaves nothing else."""
    store = DirectoryStore(tmp_path)
    store.put("a/b", b"old")
    for write in (store.put, store.put_if_absent):
        for key in ("a/b", "a/new"):
            if (write, key) == (store.put_if_absent, "a/b"):
                continue
            with full_disk(1000), pytest.raises(StorageFull, match="free some"):
                write(key, b"x" * 100_000)
    assert files(tmp_path) == ["a/b"]
    assert store.get("a/b") == b"old"


def test_read_only_directory(tmp_path: Path) -> None:
    """A directory that cannot be written to is named, with what to do; what is there can still be read."""
    root = tmp_path / "data"
    store = DirectoryStore(root)
    store.put("a", b"x")
    film = tmp_path / "film"
    film.write_bytes(b"x")
    for path in (root, root / ".tmp"):
        path.chmod(0o555)
    parents = [parent for parent in (tmp_path, *tmp_path.parents) if parent.stat().st_uid == os.geteuid()]
    modes = [(parent, parent.stat().st_mode) for parent in parents]
    for parent in parents:
        parent.chmod(parent.stat().st_mode | 0o055)
    try:
        with ordinary_user():
            assert store.get("a") == b"x"
            assert list(store.list("")) == ["a"]
            for use in (
                lambda: store.put("b", b"x"),
                lambda: store.put_if_absent("b", b"x"),
                lambda: store.delete("a"),
                lambda: store.add_file("b", film),
                lambda: store.upload_uri("c/d", 60),
                lambda: store.lock("a", 1).__enter__(),
            ):
                with pytest.raises(StorageUnavailable, match=f"{root}.*another data directory"):
                    use()
    finally:
        for parent, mode in modes:
            parent.chmod(mode)
        for path in (root, root / ".tmp"):
            path.chmod(0o755)
    assert files(root) == ["a"]


def test_the_data_directory_is_a_file(tmp_path: Path) -> None:
    """A file where the directory should be is named."""
    (tmp_path / "data").write_bytes(b"")
    store = DirectoryStore(tmp_path / "data")
    with pytest.raises(StorageUnavailable, match="data"):
        store.put("a", b"x")
    with pytest.raises(NotFound):
        store.get("a")
    assert list(store.list("")) == []


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """After writing, locking and linking there are the objects and nothing else."""
    film = tmp_path / "film"
    film.write_bytes(b"x")
    root = tmp_path / "data"
    store = DirectoryStore(root)
    store.put("a", b"x")
    store.put_if_absent("a", b"y")
    store.add_file("b", film)
    store.add_file("b", film)
    with store.lock("c", 1):
        pass
    assert files(root) == ["a", "b"]


def test_killed_writers(tmp_path: Path) -> None:
    """What a killed writer left long ago is removed by the next one; what is being written is not."""
    store = DirectoryStore(tmp_path)
    store.put("a", b"x")
    fresh = tmp_path / ".tmp" / "fresh"
    fresh.write_bytes(b"x")
    os.utime(fresh, (0, 0))  # as an old file that is being linked
    DirectoryStore(tmp_path).put("b", b"x")
    assert fresh.exists()
    DirectoryStore(tmp_path, stale_seconds=0).put("b", b"x")
    assert files(tmp_path) == ["a", "b"]


def test_add_file_copies_nothing(tmp_path: Path) -> None:
    """An added file is a link, through which a change to the file shows in the version."""
    film = tmp_path / "film"
    film.write_bytes(b"x" * 10)
    store = DirectoryStore(tmp_path / "data")
    (tmp_path / "link").symlink_to(film)
    store.add_file("a", tmp_path / "link")
    assert (tmp_path / "data" / "a").samefile(film)
    before = store.stat("a")
    film.write_bytes(b"y" * 11)
    assert store.stat("a") != before


def test_add_file_from_another_file_system(tmp_path: Path) -> None:
    """Where no hard link is possible a symbolic one stands in; when its file goes, the message names that."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    film = shared / f"longvideo-{os.getpid()}"
    film.write_bytes(b"x")
    store = DirectoryStore(tmp_path)
    try:
        store.add_file("a", film)
        assert store.get("a") == b"x"
        assert list(store.list("")) == ["a"]
    finally:
        film.unlink()
    with pytest.raises(NotFound, match=str(film)):
        store.open("a")
    assert store.stat("a") is None
    store.put("a", b"again")
    assert store.get("a") == b"again"


def test_upload_uri(tmp_path: Path) -> None:
    """A client may write an object at its `file:` URI."""
    store = DirectoryStore(tmp_path / "data dir")
    uri = store.upload_uri("videos/a/source", 60)
    assert uri == f"file://{tmp_path}/data%20dir/videos/a/source"
    (tmp_path / "data dir/videos/a/source").write_bytes(b"x")
    assert store.get("videos/a/source") == b"x"


HOLD = """
import sys, time
from pathlib import Path
from longvideo.storage import DirectoryStore
with DirectoryStore(Path(sys.argv[1])).lock("a", 5):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A lock keeps other processes out, and is free again the moment its holder is killed."""
    store = DirectoryStore(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DeadlineExceeded), store.lock("a", 0.05):
            pytest.fail("two processes held the lock")
        assert store.drop_dead_locks() == 0
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert store.drop_dead_locks() == 1
    assert not list((tmp_path / ".locks").iterdir())
    with store.lock("a", 5):
        pass


COUNT = """
import sys
from pathlib import Path
from longvideo.storage import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
for _ in range(100):
    with store.lock("number", 60):
        store.put("number", b"%d" % (int(store.get("number")) + 1))
    store.put(f"own/{sys.argv[2]}", b"x" * 1000)
"""


def test_processes_share_a_directory(tmp_path: Path) -> None:
    """Three processes at work on one directory lose nothing of each other's."""
    store = DirectoryStore(tmp_path)
    store.put("number", b"0")
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path), str(n)]) for n in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert store.get("number") == b"300"
    assert list(store.list("own/")) == ["own/0", "own/1", "own/2"]


def test_no_descriptor_leaks(tmp_path: Path) -> None:
    """A lock that is not got gives back the descriptors it used."""
    store = DirectoryStore(tmp_path)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with store.lock("a", 1):
        for _ in range(5):
            with pytest.raises(DeadlineExceeded), store.lock("a", 0):
                pass
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
