"""What a service and its media processes say to each other, over a socket: a kind, a length, and bytes.

The service is trusted and the media process is not: whoever wrote the video may have taken it over. So what comes from
there has a fixed form, and the service checks every length before it reads on (`longvideo.video.sandbox`).
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

HEAD: Final = struct.Struct("<BI")
RANGE: Final = struct.Struct("<QI")
NUMBER: Final = struct.Struct("<Q")

# Larger reads and announcements are made in parts.
MAX_READ: Final = 8 << 20
MAX_RANGES: Final = 1 << 16


class Kind(IntEnum):
    """The kinds of messages: two from the service, then those from the media process."""

    TASK = 1
    """JSON: what to do, and the limits to do it in. Each of its `columns` follows in a BYTES of its own."""

    BYTES = 2
    """The bytes of the range that was asked for, or a column."""

    READ = 3
    """A RANGE of the video's bytes is wanted now."""

    AHEAD = 4
    """RANGEs that will be read next."""

    INDEX = 5
    """The answer to `index`: a packet index, as it is stored."""

    FRAME = 6
    """A part of the answer to `frames`: a NUMBER, the frame's index, and a JPEG."""

    FAILED = 7
    """The name of an error class, its reason and its message, with a zero byte between them."""

    DONE = 8
    """The task is finished."""


class Order(NamedTuple):
    """What the service asks of the process that makes the others: to make one, to end it, or to forget about it."""

    what: int
    process: int

    def pack(self) -> bytes:
        """Returns the order as bytes."""
        return ORDER.pack(*self)


ORDER: Final = struct.Struct("<BI")
REPLY: Final = struct.Struct("<i")
FORK, END, DROP = 1, 2, 3


def parts(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the ranges, those that are too long for one message in parts."""
    return [
        (place, min(MAX_READ, offset + length - place))
        for offset, length in ranges
        for place in range(offset, offset + length, MAX_READ)
    ]


class Line:
    """The media process's end. It trusts what it hears, and waits as long as it takes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, kind: Kind, *parts: bytes) -> None:
        """Sends one message. Raises OSError when nobody listens any more."""
        self._sock.sendall(HEAD.pack(kind, sum(map(len, parts))))
        for part in parts:
            self._sock.sendall(part)

    def receive(self, kind: Kind) -> bytes:
        """Returns what the next message of this kind says. Raises ConnectionError when there is none."""
        got, length = HEAD.unpack(self._take(HEAD.size))
        if got != kind:
            raise ConnectionError(f"a message of kind {got} came instead of {kind}")
        return self._take(length)

    def task(self) -> tuple[dict[str, Any], list[bytes]]:
        """Returns the task and its columns."""
        task: dict[str, Any] = json.loads(self.receive(Kind.TASK))
        return task, [self.receive(Kind.BYTES) for _ in task.get("columns", ())]

    def _take(self, length: int) -> bytes:
        data = self._sock.recv(length, socket.MSG_WAITALL) if length else b""
        while len(data) < length:
            more = self._sock.recv(length - len(data), socket.MSG_WAITALL)
            if not more:
                raise ConnectionError("the service has gone")
            data += more
        return data
