"""An object store in a directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from longvideo import metrics
from longvideo.errors import (
    DeadlineExceeded,
    InvalidArgument,
    LongVideoError,
    NotFound,
    StorageFull,
    StorageUnavailable,
    UploadChanged,
)
from longvideo.storage.objects import ObjectStat, check_key
from longvideo.video.source import ByteSource, FileSource

# No write takes this long: objects are small, and files are linked.
STALE_SECONDS = 24 * 3600.0

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}
_ADVICE = {
    errno.EROFS: "it is read-only; use another data directory",
    errno.EACCES: "its permissions forbid it; change them or use another data directory",
    errno.EPERM: "its permissions forbid it; change them or use another data directory",
    errno.EMFILE: "too many files are open; raise the limit with `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENAMETOOLONG: "the path is too long for this file system; use a data directory with a shorter path",
}


def storage_error(error: OSError, path: Path) -> LongVideoError:
    """Returns the error to raise for what the operating system said about `path`, with the fix."""
    if error.errno in _FULL:
        return StorageFull(
            f"no space left to write {path} ({error.strerror}); free some, or use another data directory",
            path=str(path),
        )
    advice = _ADVICE.get(error.errno or 0, f"{error.strerror or error}; check the disk and the data directory")
    return StorageUnavailable(f"cannot use {path}: {advice}", path=str(path))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = storage_error(error, path)
        metrics.storage_failed("objects", told)
        raise told from error


class Move(Protocol):
    """What gives a file another name."""

    def __call__(self, src: Path, dst: Path, /) -> None:
        """Gives the file `src` the name `dst`. Raises OSError."""
        ...


class DirectoryStore:
    """Objects as files below a directory, which is made when something is first written.

    Processes and threads may share it. Files being written live in `.tmp` and locks in `.locks`, beside the objects,
    so that a rename stays within one file system and no key can name them.
    """

    def __init__(self, root: Path, *, link: Move = os.link, stale_seconds: float = STALE_SECONDS) -> None:
        """Opens a directory.

        Args:
            root: The directory, which need not exist.
            link: What makes a hard link; it may refuse with an OSError.
            stale_seconds: The age from which a file that is being written counts as left by a killed process.
        """
        self.root = root.absolute()
        self._link = link
        self._stale_seconds = stale_seconds
        self._tmp = self.root / ".tmp"
        self._locks = self.root / ".locks"
        self._swept = False

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def get(self, key: str) -> bytes:
        """Returns an object's bytes. Raises NotFound."""
        path = self._path(key)
        with _explained(path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise _not_found(key) from None

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, replacing any, by renaming a finished file."""
        path = self._path(key)
        with _explained(path), self._written(data) as temporary:
            _into_place(os.replace, temporary, path)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes an object unless there is one. Returns whether it wrote."""
        path = self._path(key)
        with _explained(path):
            if path.exists():
                return False
            with self._written(data) as temporary:
                try:
                    _into_place(self._link, temporary, path)
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    return self._put_under_lock(key, path, temporary)
        return True

    def _put_under_lock(self, key: str, path: Path, temporary: Path) -> bool:
        # Some file systems (exFAT, a few network ones) have no hard links.
        with self.lock(f"{key}.absent", timeout=60):
            if path.exists():
                return False
            _into_place(os.replace, temporary, path)
            return True

    def stat(self, key: str) -> ObjectStat | None:
        """Returns an object's size and version, or None when there is none."""
        path = self._path(key)
        with _explained(path):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return ObjectStat(status.st_size, _version(status)) if path.is_file() else None

    def delete(self, key: str) -> None:
        """Deletes an object, and the directories that it leaves empty."""
        path = self._path(key)
        with _explained(path):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            for parent in path.parents:
                if parent == self.root:
                    return
                try:
                    parent.rmdir()
                except OSError:  # not empty, or another writer's
                    return

    def list(self, prefix: str) -> Iterator[str]:
        """Yields the keys that start with `prefix`, sorted."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        folder = prefix.rpartition("/")[0]
        yield from self._walk(self.root / folder if folder else self.root, folder, prefix)

    def _walk(self, directory: Path, folder: str, prefix: str) -> Iterator[str]:
        with _explained(directory):
            try:
                with os.scandir(directory) as found:
                    # A directory sorts as its keys do: with the slash.
                    entries = sorted(
                        entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
                        for entry in found
                        if not entry.name.startswith(".")
                    )
            except (FileNotFoundError, NotADirectoryError):
                return
        for entry_name in entries:
            key = f"{folder}/{entry_name}" if folder else entry_name
            if not key.startswith(prefix):
                continue
            if entry_name.endswith("/"):
                yield from self._walk(directory / entry_name, key[:-1], prefix)
            else:
                yield key

    def open(self, key: str) -> ByteSource:
        """Opens an object for reading byte ranges. Raises NotFound, also when a linked file has been removed."""
        path = self._path(key)
        try:
            return FileSource(path)
        except InvalidArgument as error:
            # What would be a user's mistake about a file of theirs is something else about ours.
            if path.is_file():
                raise StorageUnavailable(error.message, path=str(path)) from error
            if path.is_symlink():
                raise NotFound(
                    f"the file {path.readlink()}, which {key} stands for, is gone; put it back, or add the video again",
                    key=key,
                ) from error
            raise _not_found(key) from error

    def add_file(self, key: str, path: Path) -> None:
        """Makes a file an object: by a hard link where the file system allows one, else by a symbolic link.

        Nothing is copied, so a video of any size costs nothing; whoever changes the file changes the object, which
        its version gives away.
        """
        target = self._path(key)
        with _explained(path):
            source = path.resolve()
            if not source.is_file():
                raise NotFound(f"there is no file {path}", path=str(path))
        with _explained(target), self._linked(source) as temporary:
            _into_place(os.replace, temporary, target)

    def copy(self, source: str, version: str, target: str) -> None:
        """Makes one object's file another's too, as `add_file` does. Raises NotFound and UploadChanged."""
        path, copied = self._path(source), self._path(target)
        with _explained(path):
            found = path.resolve()
            if not found.is_file():
                raise _not_found(source)
        with _explained(copied), self._linked(found) as temporary:
            # Of the link, so that it does not matter what is put in the place of the file meanwhile.
            if _version(temporary.stat()) != version:
                raise UploadChanged(f"{source} was changed after it was checked; upload it again", key=source)
            _into_place(os.replace, temporary, copied)

    @contextlib.contextmanager
    def _linked(self, source: Path) -> Iterator[Path]:
        """Gives a link to a file, a symbolic one where there can be no other, and removes whatever is left of it."""
        temporary = self._temporary()
        try:
            try:
                self._link(source, temporary)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                temporary.symlink_to(source)
            yield temporary
        finally:
            # Renaming one link of a file onto another does nothing, and leaves the first.
            temporary.unlink(missing_ok=True)

    @property
    def parts(self) -> None:
        """None: whoever can write to the directory needs no parts."""
        return None

    @property
    def imports(self) -> None:
        """None: there are no buckets."""
        return None

    def upload_uri(self, key: str, seconds: float) -> str:  # noqa: ARG002  # a file does not expire
        """Returns the `file:` URI of the object, whose directory exists when this returns."""
        path = self._path(key)
        with _explained(path):
            _make_directory(path.parent)
        return path.as_uri()

    @contextlib.contextmanager
    def lock(self, key: str, timeout: float) -> Iterator[None]:
        """Holds a lock: `flock` on a file of its own, which the kernel releases with the process that holds it."""
        path = self._locks / hashlib.sha256(check_key(key).encode()).hexdigest()
        descriptor = self._acquire(path, key, time.monotonic() + timeout)
        try:
            yield
        finally:
            # The file goes while the lock is still held; a waiter that had it open sees that and starts anew.
            with contextlib.suppress(OSError):
                path.unlink()
            # Said aloud, because a forked child may still have the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def drop_dead_locks(self) -> int:
        """Removes the files of locks whose holders were killed, and returns their number."""
        count = 0
        with _explained(self._locks):
            for path in self._locks.glob("*"):
                descriptor = _try_lock(path)
                if descriptor is not None:
                    path.unlink()
                    os.close(descriptor)
                    count += 1
        return count

    def _acquire(self, path: Path, key: str, deadline: float) -> int:
        pause = 0.002
        while True:
            with _explained(path):
                descriptor = _try_lock(path)
            if descriptor is not None:
                return descriptor
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise DeadlineExceeded(f"another process or thread still works on {key}", key=key)
            time.sleep(min(pause, remaining))
            pause = min(pause * 1.5, 0.1)

    @contextlib.contextmanager
    def _written(self, data: bytes) -> Iterator[Path]:
        """Gives a finished file of `data`, and removes whatever is left of it."""
        temporary = self._temporary()
        try:
            temporary.write_bytes(data)
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _temporary(self) -> Path:
        self._tmp.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._swept = True
            _sweep(self._tmp, time.time() - self._stale_seconds)
        return self._tmp / secrets.token_hex(12)


def _sweep(directory: Path, before: float) -> None:
    """Removes what processes that were killed have left. The change time is when a file, or a link to one, was made."""
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            if path.lstat().st_ctime < before:
                path.unlink()


def _version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _not_found(key: str) -> NotFound:
    return NotFound(f"there is nothing stored under {key}", key=key)


def _into_place(move: Move, temporary: Path, path: Path) -> None:
    """Moves a finished file to its place. A deleter may take the directory away after it is made: then once more."""
    for _ in range(20):
        _make_directory(path.parent)
        with contextlib.suppress(FileNotFoundError):
            return move(temporary, path)
    return move(temporary, path)


def _make_directory(path: Path) -> None:
    """Makes a directory and those above it, while others may be removing empty ones."""
    for _ in range(20):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            return path.mkdir(parents=True, exist_ok=True)
    return path.mkdir(parents=True, exist_ok=True)


def _try_lock(path: Path) -> int | None:
    """Returns a descriptor that holds the lock, or None when somebody else does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us may have removed the file after we opened it; then others lock a newer one.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
