"""A media process that was taken over: it does what the name of its video says.

Run as the program of a `Sandbox`, so it is confined like the real one. What an attempt came to is told as damage.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longvideo.errors import BadMedia
from longvideo.video import build_index
from longvideo.video.wire import HEAD, NUMBER, RANGE, Kind, Line
from longvideo.video.worker import TASKS, RemoteSource, main

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_TRACEME = 0


def _in_c(function: Callable[..., int], *args: Any) -> None:
    if function(*args) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


# What no reader of videos needs, and a thread, which one does.
ATTEMPTS: dict[str, Callable[[], object]] = {
    "socket": lambda: socket.socket(socket.AF_INET),
    "unix socket": lambda: socket.socket(socket.AF_UNIX),
    "socket pair": socket.socketpair,
    "read a file": lambda: os.open("/etc/hostname", os.O_RDONLY),
    "write a file": lambda: os.open("/tmp/hostile", os.O_WRONLY | os.O_CREAT),
    "list a directory": lambda: list(Path("/").iterdir()),
    "delete a file": Path("/tmp/hostile").unlink,
    "fork": os.fork,
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(1, 0),
    "trace": lambda: _in_c(LIBC.ptrace, PTRACE_TRACEME, 0, 0, 0),
    "set a limit": lambda: _in_c(LIBC.setrlimit, resource.RLIMIT_NOFILE, (ctypes.c_ulong * 2)()),
    "new code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "look at the kernel": os.uname,
    "thread": _thread,
}


def _attempt(do: Callable[[], object]) -> str:
    try:
        do()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _allocate(_line: Line) -> None:
    kept = [bytes(64 << 20) for _ in range(1 << 20)]
    del kept


def _spin(_line: Line) -> None:
    while True:
        pass


def _raw(*data: bytes) -> Callable[[Line], None]:
    def send(line: Line) -> None:
        for part in data:
            line._sock.sendall(part)
        time.sleep(60)

    return send


def _message(kind: int, data: bytes = b"", length: int | None = None) -> bytes:
    return HEAD.pack(kind, len(data) if length is None else length) + data


def _greedy(line: Line) -> None:
    while True:
        line.send(Kind.READ, RANGE.pack(0, 1))
        line.receive(Kind.BYTES)


ACTS: dict[str, Callable[[Line], None]] = {
    "allocate": _allocate,
    "spin": _spin,
    "sleep": lambda _: time.sleep(60),
    "exit": lambda _: os._exit(0),
    "crash": lambda _: print(ctypes.string_at(0)),
    "be killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "unexpected error": lambda _: print(1 // 0),
    "garbage": _raw(b"\xff" * 100),
    "half a message": _raw(_message(Kind.INDEX, b"abc", 1000)),
    "a message without end": _raw(_message(Kind.INDEX, b"", 2**32 - 1)),
    "nothing": _raw(_message(Kind.DONE)),
    "a picture": _raw(_message(Kind.FRAME, NUMBER.pack(0) + b"\xff\xd8")),
    "a long end": _raw(_message(Kind.DONE, b"x")),
    "no index": _raw(_message(Kind.INDEX, b"x" * 50), _message(Kind.DONE)),
    "two answers": _raw(_message(Kind.INDEX, b"x"), _message(Kind.INDEX, b"y"), _message(Kind.DONE)),
    "read behind the end": _raw(_message(Kind.READ, RANGE.pack(2**40, 10))),
    "read over the end": _raw(_message(Kind.READ, RANGE.pack(0, 7 << 20))),
    "read nothing": _raw(_message(Kind.READ, RANGE.pack(0, 0))),
    "read a broken range": _raw(_message(Kind.READ, b"abc")),
    "announce behind the end": _raw(_message(Kind.AHEAD, RANGE.pack(2**40, 10))),
    "announce broken ranges": _raw(_message(Kind.AHEAD, b"abc")),
    "another error": _raw(_message(Kind.FAILED, b"Internal\0INTERNAL\0x")),
    "another reason": _raw(_message(Kind.FAILED, b"BadMedia\0I_MADE_IT_UP\0x")),
    "half an error": _raw(_message(Kind.FAILED, b"BadMedia")),
    "ugly words": _raw(_message(Kind.FAILED, b"BadMedia\0MEDIA_DAMAGED\0a\x1b[31m\nb\xff" + b"x" * 3000)),
    "read for ever": _greedy,
}


def _index(line: Line, source: RemoteSource, _task: dict[str, Any], _columns: list[bytes]) -> None:
    if source.name in ATTEMPTS:
        raise BadMedia(_attempt(ATTEMPTS[source.name]), reason="MEDIA_DAMAGED")
    if source.name in ACTS:
        ACTS[source.name](line)
    else:
        line.send(Kind.INDEX, build_index(source).to_bytes())


def _frames(line: Line, source: RemoteSource, task: dict[str, Any], columns: list[bytes]) -> None:
    answers = {
        "another frame": (NUMBER.pack(17), None),
        "another size": (NUMBER.pack(3), b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff" + bytes(12) + b"\xff\xd9"),
        "no picture": (NUMBER.pack(3), b"GIF89a"),
        "no number": (b"abc", b""),
    }
    if source.name not in answers:
        TASKS["frames"](line, source, task, columns)
        return
    number, picture = answers[source.name]
    if picture is None:
        real = Recorded()
        TASKS["frames"](real, source, task, columns)  # type: ignore[arg-type]  # it only sends
        picture = real.jpeg
    line.send(Kind.FRAME, number, picture)


class Recorded:
    """Takes a picture instead of sending it."""

    jpeg = b""

    def send(self, _kind: Kind, *parts: bytes) -> None:
        """Keeps what is sent."""
        self.jpeg = parts[-1]


HOSTILE = {"index": _index, "frames": _frames}

if __name__ == "__main__":
    main(int(sys.argv[1]), HOSTILE)
