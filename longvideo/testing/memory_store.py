"""An object store in memory."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from longvideo.errors import DeadlineExceeded, NotFound
from longvideo.storage import ObjectStat, check_key


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

    def upload_uri(self, key: str) -> str:
        """Returns a `memory:` URI, which nobody but a test can write to."""
        return f"memory:{check_key(key)}"

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


def _version(data: bytes) -> str:
    return f"{len(data)}-{hashlib.sha256(data).hexdigest()[:16]}"
