"""The data directory: one process at a time works on it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from longvideo.errors import DataInUse, StorageUnavailable
from longvideo.storage import storage_error

LOCK_NAME = "lock"


class DataDirectory:
    """A data directory that this process holds. `release` it, or use it as a context manager.

    The lock is the kernel's, so it goes with the process that holds it; the file says who that is.
    """

    def __init__(self, path: Path, command: str) -> None:
        """Makes the directory if need be, and takes the lock.

        Raises DataInUse when another process has it, and StorageUnavailable or StorageFull when it cannot be used.
        """
        self.path = path.absolute()
        self._command = command
        self._made = _make(self.path)
        try:
            self._descriptor = _lock(self.path / LOCK_NAME)
        except BlockingIOError:
            raise _in_use(self.path) from None
        except OSError as error:
            self._remove_made()
            raise storage_error(error, self.path / LOCK_NAME) from None
        with self._released_on_error():
            self.announce("")

    def announce(self, address: str) -> None:
        """Says where this process can be reached, to whoever finds the directory locked."""
        holder = json.dumps({"pid": os.getpid(), "command": self._command, "address": address}).encode()
        try:
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, holder, 0)
        except OSError as error:
            raise storage_error(error, self.path / LOCK_NAME) from None

    def release(self) -> None:
        """Lets others work on the directory. Removes it when this process made it and nothing was put into it."""
        with contextlib.suppress(OSError):
            # The file goes while the lock is held, so that nobody can lock a file that is about to vanish.
            (self.path / LOCK_NAME).unlink()
        os.close(self._descriptor)
        self._remove_made()

    def _remove_made(self) -> None:
        for directory in self._made:
            with contextlib.suppress(OSError):  # something was put into it: it stays
                directory.rmdir()

    @contextlib.contextmanager
    def _released_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.release()
            raise

    def __enter__(self) -> DataDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(path: Path) -> int:
    """Returns a descriptor that holds the lock. Raises BlockingIOError when another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                # The holder before us may have removed the file after we opened it.
                if os.fstat(descriptor).st_ino == path.stat().st_ino:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _make(path: Path) -> list[Path]:
    """Makes a directory with its parents, and returns those that were made, the deepest first."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        for directory in missing:
            with contextlib.suppress(OSError):
                directory.rmdir()
        if error.errno in {errno.EEXIST, errno.ENOTDIR}:
            raise StorageUnavailable(
                f"{path} cannot be the data directory: it is not a directory, or lies below a file; "
                "give another --data-dir",
                reason="DATA_DIR_NOT_A_DIRECTORY",
            ) from None
        raise storage_error(error, path) from None
    return missing


def _in_use(path: Path) -> DataInUse:
    who, address = "another process", ""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads((path / LOCK_NAME).read_bytes())
        address = str(holder["address"])
        who = f"process {int(holder['pid'])} ({', '.join(filter(None, [str(holder['command']), address]))})"
    way = f"Use --server {address}, wait" if address else "Wait"
    return DataInUse(f"{path} is in use by {who}. {way} until it has ended, or give another --data-dir.")
