"""Where the bytes of a video come from: anything that answers byte ranges."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from longvideo.errors import InvalidArgument, StorageUnavailable, VideoChanged


class ByteSource(Protocol):
    """The immutable bytes of one video, read by range. Reads may come from several threads at once."""

    @property
    def name(self) -> str:
        """What people call the source, for messages."""
        ...

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    @property
    def version(self) -> str:
        """A text that changes when the bytes change."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`, fewer only at the end. Raises VideoChanged, StorageUnavailable."""
        ...

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Says which ranges, as (offset, length), will be read next, in about this order.

        A source that is far away fetches them ahead, several at once. Nothing is promised: ranges may be read in
        another order, not at all, and without having been announced.
        """
        ...

    def close(self) -> None:
        """Releases what the source holds. Closing twice is allowed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FileSource:
    """A ByteSource over a regular file.

    Its version is made of the size and the modification time. Every read checks that neither has changed, so that
    nobody is given a mixture of two videos.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens a file. Raises InvalidArgument, naming the path, when it is missing, unreadable or not regular."""
        self._path = Path(path)
        self._fd = _open(self._path)
        status = os.fstat(self._fd)
        self._size = status.st_size
        self._version = _version(status)

    @property
    def name(self) -> str:
        """The file's name without its directory."""
        return self._path.name

    @property
    def size(self) -> int:
        """How many bytes the file had when it was opened."""
        return self._size

    @property
    def version(self) -> str:
        """The size and the modification time in nanoseconds, `size-mtime`, as they were when the file was opened."""
        return self._version

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`, fewer only at the end.

        Raises VideoChanged when the file was written to since it was opened, and StorageUnavailable when the disk
        fails or the source is closed.
        """
        parts: list[bytes] = []
        try:
            if _version(os.fstat(self._fd)) != self._version:
                raise VideoChanged(f"{self._path} was changed while it was read; add the video again")
            while length > 0 and (part := os.pread(self._fd, length, offset)):
                parts.append(part)
                offset += len(part)
                length -= len(part)
        except OSError as error:
            raise StorageUnavailable(f"{self._path} cannot be read: {error.strerror}; check the disk") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Asks the kernel to read the ranges from disk, as far as it likes."""
        if hasattr(os, "posix_fadvise"):
            for offset, length in ranges:
                with contextlib.suppress(OSError):
                    os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Closes the file. Closing twice is allowed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _open(path: Path) -> int:
    """Returns a descriptor of a regular file. Never blocks: a named pipe is opened without waiting, then refused."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise InvalidArgument(
            f"{path} does not exist; give the path of a video file", reason="FILE_NOT_FOUND", path=str(path)
        ) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidArgument(
            f"{path} cannot be opened: {why}; give a video file that may be read",
            reason="FILE_UNREADABLE",
            path=str(path),
        ) from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise InvalidArgument(
            f"{path} is {kind}; give the path of one video file", reason="FILE_NOT_REGULAR", path=str(path)
        )
    return fd


class SourceReader(io.RawIOBase):
    """A seekable file over a ByteSource, for demultiplexers: reads whole blocks and keeps the last few of them.

    Who reads straight on gets more and more blocks at once, so that a whole file from object storage costs few
    requests; a seek starts again with one, and wastes little.
    """

    BLOCK = 1 << 20
    AT_ONCE = 8
    KEPT = 16

    def __init__(self, source: ByteSource) -> None:
        super().__init__()
        self._source = source
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._following = 0
        self._stride = 1
        self.name = source.name

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves the position and returns it. Raises OSError for a place before the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise OSError("the position lies before the start")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Returns up to `size` bytes from the position and moves it; fewer only at the end."""
        wanted = self._source.size - self._position if size < 0 else size
        data = self.peek(self._position, wanted)
        self._position += len(data)
        return data

    def peek(self, offset: int, length: int) -> bytes:
        """Returns up to `length` bytes from `offset` and leaves the position alone."""
        end = min(offset + length, self._source.size)
        parts: list[bytes] = []
        while offset < end:
            number, start = divmod(offset, self.BLOCK)
            part = self._block(number)[start : start + end - offset]
            if not part:
                break
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        self._stride = min(2 * self._stride, self.AT_ONCE) if number and number == self._following else 1
        data = self._source.read(number * self.BLOCK, self._stride * self.BLOCK)
        for step in range(self._stride):
            self._blocks[number + step] = data[step * self.BLOCK : (step + 1) * self.BLOCK]
        self._following = number + self._stride
        while len(self._blocks) > self.KEPT:
            self._blocks.popitem(last=False)
        return self._blocks[number]
