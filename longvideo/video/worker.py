"""The media process: `python -m longvideo.video.worker FD`. Started by `longvideo.video.sandbox` alone.

This process never sees a byte of any video. Everything a task needs is imported here once; then, for every task, it
makes a copy of itself, which confines itself, carries out that task, and ends. So no task can leave anything behind for
the next, which may be about somebody else's video.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, cast

import av.error
import av.subtitles.stream  # PyAV imports it when a file has subtitles, and then it is too late
import numpy as np
import numpy.ma  # the same, for a median

from longvideo.cpus import processors
from longvideo.errors import BadMedia, LongVideoError
from longvideo.video import confine
from longvideo.video.frames import read_frames
from longvideo.video.index import VideoIndex, build_index
from longvideo.video.wire import DROP, END, FORK, NUMBER, ORDER, RANGE, REPLY, Kind, Line, parts

_MESSAGE_CHARS: Final = 1000


class RemoteSource:
    """A ByteSource whose bytes the service reads."""

    def __init__(self, line: Line, name: str, size: int, version: str) -> None:
        self.name, self.size, self.version = name, size, version
        self._line = line
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Returns `length` bytes from `offset`, fewer only at the end."""
        wanted = parts([(offset, min(length, self.size - offset))])
        data = [self._ask(*part) for part in wanted]
        return data[0] if len(data) == 1 else b"".join(data)

    def _ask(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._line.send(Kind.READ, RANGE.pack(offset, length))
            return self._line.receive(Kind.BYTES)

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Passes on which ranges will be read next."""
        with self._lock:
            self._line.send(Kind.AHEAD, *(RANGE.pack(*part) for part in parts(ranges)))

    def close(self) -> None:
        """Does nothing: the service closes what it opened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Task = Callable[[Line, RemoteSource, dict[str, Any], list[bytes]], None]


def _index(line: Line, source: RemoteSource, _task: dict[str, Any], _columns: list[bytes]) -> None:
    line.send(Kind.INDEX, build_index(source).to_bytes())


def _frames(line: Line, source: RemoteSource, task: dict[str, Any], columns: list[bytes]) -> None:
    kinds: dict[str, str] = task["columns"]
    fields: dict[str, Any] = task["index"]
    fields["extradata"] = tuple((first, bytes.fromhex(data)) for first, data in fields["extradata"])
    fields |= {name: np.frombuffer(data, kind) for (name, kind), data in zip(kinds.items(), columns, strict=True)}
    for frame in read_frames(source, VideoIndex(**fields), task["frames"], task["longest_side"]):
        line.send(Kind.FRAME, NUMBER.pack(frame.index), frame.jpeg)


TASKS: Final[Mapping[str, Task]] = {"index": _index, "frames": _frames}


class _OutOfMemory(MemoryError):
    """What FFmpeg means by ENOMEM. No damage to a file explains it away."""


def main(fd: int, tasks: Mapping[str, Task] = TASKS) -> None:
    """Makes a process for every task that is ordered on the socket `fd`, until there is nobody any more to order."""
    cast(dict[int, type[Exception]], av.error.classes)[errno.ENOMEM] = _OutOfMemory
    processors()  # a confined process could not look it up any more
    gc.collect()
    gc.freeze()
    dropped: set[int] = set()
    # A service that was killed reads no reply to what it ordered.
    gone = contextlib.suppress(BrokenPipeError, ConnectionResetError)
    with socket.socket(fileno=fd) as control, gone:
        control.sendall(REPLY.pack(confine.can_filter()))
        while True:
            said, descriptors, _, _ = socket.recv_fds(control, ORDER.size, 1, socket.MSG_WAITALL)
            if len(said) < ORDER.size:
                break
            what, process = ORDER.unpack(said)
            if what == FORK:
                made = os.fork()
                if not made:
                    control.close()
                    _live(descriptors[0], tasks)
                os.close(descriptors[0])
                control.sendall(REPLY.pack(made))
            else:
                os.kill(process, signal.SIGKILL)
            if what == END:
                control.sendall(REPLY.pack(os.waitpid(process, 0)[1]))
            elif what == DROP:
                dropped.add(process)
            dropped -= {each for each in dropped if os.waitpid(each, os.WNOHANG)[0]}
    for process in dropped:
        os.waitpid(process, 0)


def _live(fd: int, tasks: Mapping[str, Task]) -> None:
    """Carries out one task, and ends this process."""
    status = 1
    try:
        confine.die_with_parent()
        # A task that is not tame must not fill the service's log.
        os.dup2(os.open(os.devnull, os.O_RDWR), sys.stderr.fileno())
        line = Line(socket.socket(fileno=fd))
        task, columns = line.task()
        confine.confine(task["memory_bytes"], task["cpu_seconds"])
        _carry_out(line, tasks, task, columns)
        status = 0
    finally:
        os._exit(status)


def _carry_out(line: Line, tasks: Mapping[str, Task], task: dict[str, Any], columns: list[bytes]) -> None:
    source = RemoteSource(line, task["name"], task["size"], task["version"])
    try:
        tasks[task["do"]](line, source, task, columns)
    except MemoryError:
        _fail(line, "MemoryError", "", "")
    except LongVideoError as error:
        _fail(line, type(error).__name__, error.reason, error.message)
    except Exception as error:  # noqa: BLE001  # the end of this process: nobody else would tell
        _fail(line, BadMedia.__name__, "MEDIA_CRASHED", f"{source.name} cannot be read: {type(error).__name__}")
    else:
        line.send(Kind.DONE)


def _fail(line: Line, *what: str) -> None:
    said = "\0".join(what)[:_MESSAGE_CHARS].encode("utf-8", "replace")
    with contextlib.suppress(OSError):
        line.send(Kind.FAILED, said)


if __name__ == "__main__":
    main(int(sys.argv[1]))
