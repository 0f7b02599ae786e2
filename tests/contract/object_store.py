"""What every object store does: a suite to run against each.

Inherit from `ObjectStoreSuite` and override the fixture `stores`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from longvideo.errors import DeadlineExceeded, InvalidArgument, NotFound, UploadChanged
from longvideo.storage import ObjectStore, OpenUpload, PartUploads

BAD_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "../a",
    ".hidden",
    "a/.hidden",
    "a b",
    "ä",
    "a\n",
    "a\0",
    "a\\b",
]


Write = Callable[[str, bytes], None]


class ObjectStoreSuite:
    """The suite. Each test gets a store of its own, empty."""

    @pytest.fixture
    def stores(self, tmp_path: Path) -> Callable[[], ObjectStore]:
        """Returns what opens the same store again, as another process would."""
        raise NotImplementedError

    @pytest.fixture
    def write(self, stores: Callable[[], ObjectStore]) -> Write:
        """Returns what writes bytes to a URI as a client does."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, stores: Callable[[], ObjectStore]) -> ObjectStore:
        """An empty store."""
        return stores()

    def test_put_and_get(self, store: ObjectStore, stores: Callable[[], ObjectStore]) -> None:
        """What is put is got, by others too, and a second put replaces it."""
        store.put("videos/a/index", b"one")
        assert store.get("videos/a/index") == b"one"
        store.put("videos/a/index", b"second")
        assert stores().get("videos/a/index") == b"second"

    def test_empty_object(self, store: ObjectStore) -> None:
        """An object may be empty."""
        store.put("a", b"")
        assert store.get("a") == b""
        assert store.list("") is not None
        assert list(store.list("")) == ["a"]

    def test_nothing_there(self, store: ObjectStore) -> None:
        """What was never put is NotFound, has no stat, and can be deleted."""
        with pytest.raises(NotFound, match="a/b"):
            store.get("a/b")
        with pytest.raises(NotFound, match="a/b"):
            store.open("a/b")
        assert store.stat("a/b") is None
        store.delete("a/b")
        assert list(store.list("a/")) == []

    def test_a_prefix_is_no_object(self, store: ObjectStore) -> None:
        """The start of a key is nothing by itself."""
        store.put("a/b/c", b"x")
        assert store.stat("a/b") is None
        with pytest.raises(NotFound):
            store.get("a/b")
        with pytest.raises(NotFound):
            store.open("a/b")
        store.delete("a/b")
        assert store.get("a/b/c") == b"x"

    def test_delete(self, store: ObjectStore) -> None:
        """A deleted object is gone, its neighbours stay, and it may be put again."""
        store.put("a/b", b"x")
        store.put("a/c", b"y")
        store.delete("a/b")
        assert list(store.list("")) == ["a/c"]
        store.put("a/b", b"z")
        assert store.get("a/b") == b"z"

    def test_stat(self, store: ObjectStore) -> None:
        """Stat gives the size, and a version that differs once the bytes do."""
        store.put("a", b"12345")
        first = store.stat("a")
        assert first is not None
        assert first.size == 5
        assert store.stat("a") == first
        store.put("a", b"123456")
        second = store.stat("a")
        assert second is not None
        assert second.version != first.version

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_bad_keys(self, store: ObjectStore, key: str) -> None:
        """A key that could name something else is refused by every method."""
        for use in (
            lambda: store.get(key),
            lambda: store.put(key, b"x"),
            lambda: store.put_if_absent(key, b"x"),
            lambda: store.stat(key),
            lambda: store.delete(key),
            lambda: store.open(key),
            lambda: store.upload_uri(key, 60),
            lambda: store.copy(key, "1-a", "b"),
            lambda: store.copy("b", "1-a", key),
            lambda: store.add_file(key, Path(__file__)),
            lambda: store.lock(key, 1).__enter__(),
        ):
            with pytest.raises(InvalidArgument, match="storage key"):
                use()

    def test_list(self, store: ObjectStore) -> None:
        """Keys come sorted by their characters, and only those that start with the prefix."""
        keys = ["a/1", "a/1-1", "a/1-1-2", "a/10", "a/2", "a-b/1", "a.b", "ab/1", "b/x/y/z"]
        for key in keys:
            store.put(key, b"x")
        assert list(store.list("")) == sorted(keys)
        assert list(store.list("a")) == sorted(key for key in keys if key.startswith("a"))
        assert list(store.list("a/1")) == ["a/1", "a/1-1", "a/1-1-2", "a/10"]
        assert list(store.list("a/")) == ["a/1", "a/1-1", "a/1-1-2", "a/10", "a/2"]
        assert list(store.list("b/x/")) == ["b/x/y/z"]
        assert list(store.list("b/x/y/z")) == ["b/x/y/z"]
        assert list(store.list("c/")) == []

    def test_list_of_a_bad_prefix(self, store: ObjectStore) -> None:
        """A prefix that no key can have is refused."""
        with pytest.raises(InvalidArgument):
            list(store.list("../"))

    def test_open(self, store: ObjectStore) -> None:
        """An opened object gives ranges, fewer bytes at its end, and the version that stat gives."""
        store.put("a", b"0123456789")
        status = store.stat("a")
        assert status is not None
        with store.open("a") as source:
            assert (source.size, source.version) == tuple(status)
            assert source.read(2, 3) == b"234"
            assert source.read(8, 5) == b"89"
            assert source.read(10, 5) == b""

    def test_add_file(self, store: ObjectStore, tmp_path: Path) -> None:
        """A file that is added reads as an object; adding it again, or another, replaces it; the file stays."""
        path = tmp_path / "a film.mp4"
        path.write_bytes(b"moving pictures")
        for _ in range(2):
            store.add_file("videos/a/source", path)
            assert store.get("videos/a/source") == b"moving pictures"
        other = tmp_path / "other"
        other.write_bytes(b"other")
        store.add_file("videos/a/source", other)
        assert store.get("videos/a/source") == b"other"
        store.delete("videos/a/source")
        assert path.read_bytes() == b"moving pictures"
        assert other.read_bytes() == b"other"

    def test_add_no_file(self, store: ObjectStore, tmp_path: Path) -> None:
        """A missing file, and a directory, cannot be added."""
        for path in (tmp_path / "gone", tmp_path):
            with pytest.raises(NotFound, match=path.name):
                store.add_file("a", path)
        assert list(store.list("")) == []

    def test_copy(self, store: ObjectStore, stores: Callable[[], ObjectStore]) -> None:
        """A copy has the bytes of the version that was named, replaces what was there, and outlives its source."""
        store.put("uploads/a/b", b"moving pictures")
        store.put("videos/b/source", b"other")
        for _ in range(2):
            status = store.stat("uploads/a/b")
            assert status is not None
            stores().copy("uploads/a/b", status.version, "videos/b/source")
            assert store.get("videos/b/source") == b"moving pictures"
        store.put("uploads/a/b", b"changed later")
        store.delete("uploads/a/b")
        assert list(store.list("")) == ["videos/b/source"]
        assert store.get("videos/b/source") == b"moving pictures"

    def test_copy_of_another_version(self, store: ObjectStore) -> None:
        """What is no longer the version that was named is not copied, nor is what is not there."""
        store.put("uploads/a/b", b"checked")
        status = store.stat("uploads/a/b")
        assert status is not None
        store.put("uploads/a/b", b"changed")
        with pytest.raises(UploadChanged, match="uploads/a/b"):
            store.copy("uploads/a/b", status.version, "videos/b/source")
        store.delete("uploads/a/b")
        with pytest.raises(NotFound, match="uploads/a/b"):
            store.copy("uploads/a/b", status.version, "videos/b/source")
        assert list(store.list("")) == []

    def test_upload_at_once(self, store: ObjectStore, write: Write) -> None:
        """What a client writes to the URI that it was given is the object."""
        write(store.upload_uri("uploads/a/b", 60), b"moving pictures")
        assert store.get("uploads/a/b") == b"moving pictures"
        assert list(store.list("")) == ["uploads/a/b"]

    def test_put_if_absent(self, store: ObjectStore, stores: Callable[[], ObjectStore]) -> None:
        """The second of two does not write."""
        assert store.put_if_absent("a/b", b"first")
        assert not stores().put_if_absent("a/b", b"second")
        assert store.get("a/b") == b"first"

    def test_one_winner(self, stores: Callable[[], ObjectStore]) -> None:
        """Of many writers at once exactly one wins, and everybody reads its bytes."""
        for turn in range(20):
            key = f"race/{turn}"
            with ThreadPoolExecutor(8) as pool:
                won = list(pool.map(lambda n, key=key: stores().put_if_absent(key, b"%d" % n), range(8)))
            assert won.count(True) == 1
            assert stores().get(key) == b"%d" % won.index(True)

    def test_no_part_is_read(self, stores: Callable[[], ObjectStore]) -> None:
        """While one object is replaced again and again, a reader sees one whole version each time."""
        contents = [bytes([65 + n]) * 200_000 for n in range(4)]
        store = stores()
        store.put("a", contents[0])
        done = threading.Event()

        def write(content: bytes) -> None:
            while not done.is_set():
                stores().put("a", content)

        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, content) for content in contents]
            try:
                for _ in range(60):
                    assert store.get("a") in contents
            finally:
                done.set()
            for writer in writers:
                writer.result()

    def test_put_beside_delete(self, stores: Callable[[], ObjectStore]) -> None:
        """Writers succeed while their neighbours are deleted."""

        def work(number: int) -> None:
            store = stores()
            for _ in range(30):
                store.put(f"a/b/{number}", b"x")
                assert store.get(f"a/b/{number}") == b"x"
                store.delete(f"a/b/{number}")

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        assert list(stores().list("")) == []

    def test_lock_excludes(self, stores: Callable[[], ObjectStore]) -> None:
        """Of many threads that hold a lock to change a number, none loses another's change."""
        stores().put("number", b"0")

        def add(_: int) -> None:
            store = stores()
            for _ in range(10):
                with store.lock("number", 30):
                    store.put("number", b"%d" % (int(store.get("number")) + 1))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, range(8)))
        assert stores().get("number") == b"80"

    def test_lock_times_out(self, stores: Callable[[], ObjectStore]) -> None:
        """A lock that another holds is waited for until the time is up, and is there again after its release."""
        with stores().lock("a/b", 1):
            with pytest.raises(DeadlineExceeded, match="a/b"), stores().lock("a/b", 0.05):
                pytest.fail("two held the lock")
            with stores().lock("a/c", 0):
                pass
        with stores().lock("a/b", 0):
            pass

    def test_lock_is_released_by_an_error(self, store: ObjectStore) -> None:
        """An error inside leaves the lock free."""
        with pytest.raises(RuntimeError), store.lock("a", 1):
            raise RuntimeError
        with store.lock("a", 0):
            pass

    def test_locks_are_no_objects(self, store: ObjectStore) -> None:
        """A lock needs no object and makes none, and an object may be written by its holder."""
        with store.lock("a", 1):
            assert list(store.list("")) == []
            store.put("a", b"x")
        assert list(store.list("")) == ["a"]


# The least that S3 takes for every part but the last.
PART = 5 << 20


class PartUploadsSuite:
    """What every store does whose clients write in parts. For a class that is an `ObjectStoreSuite` too."""

    @pytest.fixture
    def parts(self, store: ObjectStore) -> PartUploads:
        """The uploads of the store."""
        assert store.parts is not None
        return store.parts

    @pytest.fixture
    def contents(self) -> list[bytes]:
        """The bytes of three parts."""
        return [b"a" * PART, b"b" * PART, b"the end"]

    def test_an_upload_in_parts(
        self, store: ObjectStore, parts: PartUploads, write: Write, contents: list[bytes]
    ) -> None:
        """The object is there once its parts are put together, and may then be copied."""
        upload = parts.begin("uploads/a/b")
        for number, content in enumerate(contents, 1):
            write(parts.uri("uploads/a/b", upload, number, 60), content)
        found = parts.written("uploads/a/b", upload)
        assert {number: part.size for number, part in found.items()} == {1: PART, 2: PART, 3: 7}
        parts.complete("uploads/a/b", upload, {number: part.version for number, part in found.items()})
        status = store.stat("uploads/a/b")
        assert status is not None
        store.copy("uploads/a/b", status.version, "videos/b/source")
        assert store.get("videos/b/source") == b"".join(contents)

    def test_parts_again_and_in_any_order(
        self, store: ObjectStore, parts: PartUploads, write: Write, contents: list[bytes]
    ) -> None:
        """Parts come in any order and as often as it takes; the object is there, whole, once they are put together."""
        upload = parts.begin("uploads/a/b")
        assert parts.written("uploads/a/b", upload) == {}
        write(parts.uri("uploads/a/b", upload, 3, 60), contents[2])
        write(parts.uri("uploads/a/b", upload, 1, 60), b"x" * PART)
        write(parts.uri("uploads/a/b", upload, 2, 60), contents[1])
        write(parts.uri("uploads/a/b", upload, 1, 60), contents[0])
        found = parts.written("uploads/a/b", upload)
        assert {number: part.size for number, part in found.items()} == {1: PART, 2: PART, 3: 7}
        assert store.stat("uploads/a/b") is None
        parts.complete("uploads/a/b", upload, {number: part.version for number, part in found.items()})
        assert store.get("uploads/a/b") == b"".join(contents)
        assert list(parts.unfinished("uploads/")) == []
        with pytest.raises(NotFound, match="uploads/a/b"):
            parts.written("uploads/a/b", upload)

    def test_parts_that_are_not_named(
        self, store: ObjectStore, parts: PartUploads, write: Write, contents: list[bytes]
    ) -> None:
        """Only the parts that are named become the object."""
        upload = parts.begin("uploads/a/b")
        for number, content in enumerate(contents, 1):
            write(parts.uri("uploads/a/b", upload, number, 60), content)
        found = parts.written("uploads/a/b", upload)
        parts.complete("uploads/a/b", upload, {1: found[1].version})
        assert store.get("uploads/a/b") == contents[0]

    def test_a_part_that_changed(
        self, store: ObjectStore, parts: PartUploads, write: Write, contents: list[bytes]
    ) -> None:
        """A part that was written anew is not taken for the one that was named."""
        upload = parts.begin("uploads/a/b")
        write(parts.uri("uploads/a/b", upload, 1, 60), contents[0])
        versions = {1: parts.written("uploads/a/b", upload)[1].version}
        write(parts.uri("uploads/a/b", upload, 1, 60), contents[1])
        with pytest.raises(UploadChanged, match="uploads/a/b"):
            parts.complete("uploads/a/b", upload, versions)
        assert store.stat("uploads/a/b") is None

    def test_uploads_that_are_given_up(
        self, store: ObjectStore, parts: PartUploads, write: Write, contents: list[bytes]
    ) -> None:
        """Open uploads are listed by what they are to, until they are given up, which may be said twice."""
        kept, other = parts.begin("uploads/a/b"), parts.begin("videos/c/source")
        write(parts.uri("uploads/a/b", kept, 1, 60), contents[0])
        assert list(parts.unfinished("uploads/")) == [OpenUpload("uploads/a/b", kept)]
        assert set(parts.unfinished("")) == {OpenUpload("uploads/a/b", kept), OpenUpload("videos/c/source", other)}
        for _ in range(2):
            parts.abort("uploads/a/b", kept)
        parts.abort("videos/c/source", other)
        assert list(parts.unfinished("")) == []
        assert list(store.list("")) == []
        with pytest.raises(NotFound, match="uploads/a/b"):
            parts.written("uploads/a/b", kept)
