"""An object store in memory."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from longvideo.errors import DeadlineExceeded, NotFound, UploadChanged
from longvideo.storage import ObjectStat, OpenUpload, StoredPart, check_key


class MemorySource:
    """A `ByteSource` over bytes."""

    def __init__(self, data: bytes, name: str = "memory", version: str = "") -> None:
        self.name = name
        self.size = len(data)
        self.version = version or _version(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`, fewer only at the end."""
        return self._data[offset : offset + max(0, length)]

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Does nothing: everything is here."""

    def close(self) -> None:
        """Does nothing: the bytes go when nobody has them any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MemoryStore:
    """Objects in a dictionary: an `ObjectStore` for one process, gone with it. Threads may share it."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._held: set[str] = set()
        self._changed = threading.Condition()
        self.parts = MemoryParts(self)

    def get(self, key: str) -> bytes:
        """Returns an object's bytes. Raises NotFound."""
        try:
            return self._objects[check_key(key)]
        except KeyError:
            raise NotFound(f"there is nothing stored under {key}", key=key) from None

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, replacing any."""
        self._objects[check_key(key)] = bytes(data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes an object unless there is one. Returns whether it wrote."""
        with self._changed:
            if check_key(key) in self._objects:
                return False
            self._objects[key] = bytes(data)
            return True

    def stat(self, key: str) -> ObjectStat | None:
        """Returns an object's size and version, or None when there is none."""
        data = self._objects.get(check_key(key))
        return None if data is None else ObjectStat(len(data), _version(data))

    def delete(self, key: str) -> None:
        """Deletes an object. Does nothing when there is none."""
        self._objects.pop(check_key(key), None)

    def list(self, prefix: str) -> Iterator[str]:
        """Yields the keys that start with `prefix`, sorted."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        yield from sorted(key for key in tuple(self._objects) if key.startswith(prefix))

    def open(self, key: str) -> MemorySource:
        """Opens an object for reading byte ranges. Raises NotFound."""
        return MemorySource(self.get(key), key)

    def add_file(self, key: str, path: Path) -> None:
        """Reads a local file into the store. Raises NotFound without one."""
        check_key(key)
        if not path.is_file():
            raise NotFound(f"there is no file {path}", path=str(path))
        self.put(key, path.read_bytes())

    def copy(self, source: str, version: str, target: str) -> None:
        """Makes one object's bytes another's too. Raises NotFound and UploadChanged."""
        check_key(target)
        data = self.get(source)
        if _version(data) != version:
            raise UploadChanged(f"{source} was changed after it was checked; upload it again", key=source)
        self.put(target, data)

    def upload_uri(self, key: str, seconds: float) -> str:  # noqa: ARG002  # nothing here expires
        """Returns a `memory:` URI, to which only `write` writes."""
        return f"memory:{check_key(key)}"

    def write(self, uri: str, data: bytes) -> None:
        """Writes to a URI of `upload_uri` or of `parts`, as a client writes to a storage over HTTP."""
        key, _, part = uri.removeprefix("memory:").partition("?")
        if part:
            upload, _, number = part.partition("=")
            self.parts.write(key, upload, int(number), data)
        else:
            self.put(key, data)

    @property
    def imports(self) -> None:
        """None: there are no buckets."""
        return None

    def drop_dead_locks(self) -> int:
        """Returns 0: threads do not die while they hold a lock."""
        return 0

    @contextlib.contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        """Holds a lock among the threads of this process. Raises DeadlineExceeded after `timeout` seconds."""
        check_key(key)
        with self._changed:
            if not self._changed.wait_for(lambda: key not in self._held, timeout):
                raise DeadlineExceeded(f"another thread still works on {key}", key=key)
            self._held.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(key)
                self._changed.notify_all()


class MemoryParts:
    """Uploads in parts to a `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._open: dict[OpenUpload, dict[int, bytes]] = {}

    def begin(self, key: str) -> str:
        """Begins an upload and returns its id."""
        upload = secrets.token_hex(8)
        self._open[OpenUpload(check_key(key), upload)] = {}
        return upload

    def uri(self, key: str, upload: str, number: int, seconds: float) -> str:  # noqa: ARG002  # as above
        """Returns a `memory:` URI for the store's `write`."""
        return f"memory:{check_key(key)}?{upload}={number}"

    def write(self, key: str, upload: str, number: int, data: bytes) -> None:
        """Writes a part. Raises NotFound."""
        self._parts(key, upload)[number] = data

    def written(self, key: str, upload: str) -> dict[int, StoredPart]:
        """Returns the parts that are there, by number. Raises NotFound."""
        return {
            number: StoredPart(len(data), _version(data)) for number, data in sorted(self._parts(key, upload).items())
        }

    def complete(self, key: str, upload: str, versions: Mapping[int, str]) -> None:
        """Makes the parts the object. Raises NotFound and UploadChanged."""
        parts = self._parts(key, upload)
        if any(number not in parts or _version(parts[number]) != version for number, version in versions.items()):
            raise UploadChanged(f"a part of {key} was written anew meanwhile; complete it again", key=key)
        self._store.put(key, b"".join(parts[number] for number in sorted(versions)))
        self.abort(key, upload)

    def abort(self, key: str, upload: str) -> None:
        """Gives an upload up. Does nothing when there is no such upload."""
        self._open.pop(OpenUpload(check_key(key), upload), None)

    def unfinished(self, prefix: str) -> Iterator[OpenUpload]:
        """Yields the uploads that are open, to keys that start with `prefix`."""
        yield from sorted(upload for upload in tuple(self._open) if upload.key.startswith(prefix))

    def _parts(self, key: str, upload: str) -> dict[int, bytes]:
        try:
            return self._open[OpenUpload(check_key(key), upload)]
        except KeyError:
            raise NotFound(f"there is no upload {upload} to {key}", key=key) from None


def _version(data: bytes) -> str:
    return f"{len(data)}-{hashlib.sha256(data).hexdigest()[:16]}"
