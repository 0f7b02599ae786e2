"""One task's conversation with its process, which may have been taken over by the file that it reads."""

from __future__ import annotations

import json
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from longvideo.errors import BadMedia, DeadlineExceeded, VideoChanged
from longvideo.media import MediaLimits
from longvideo.video.source import ByteSource
from longvideo.video.spawner import Child
from longvideo.video.wire import HEAD, MAX_RANGES, MAX_READ, RANGE, Kind

_SLICE_SECONDS: Final = 0.1
# A sound file is read once for its index, and a damaged or badly interleaved one a few times over.
_MAX_READ_FACTOR: Final = 16
_SPARE_READ_BYTES: Final = 256 << 20
# What the shortest read counts for: an honest reader joins packets that lie closer together.
_LEAST_COST: Final = 256 << 10
_CHUNK_BYTES: Final = 1 << 20
_MAX_TEXT_BYTES: Final = 4000
_MAX_MESSAGE_CHARS: Final = 500
# Reads that follow each other are announced to the source, so that one that is far away fetches several at once.
_AHEAD: Final = 8

_ERRORS: Final = {error.__name__: error for error in (BadMedia, VideoChanged)}
_REASONS: Final = {
    "MEDIA_CRASHED",
    "MEDIA_DAMAGED",
    "MEDIA_EMPTY",
    "MEDIA_NO_VIDEO",
    "MEDIA_TOO_LARGE",
    "MEDIA_UNSUPPORTED_CODEC",
    "MEDIA_UNSUPPORTED_CONTAINER",
    VideoChanged.default_reason,
}


@dataclass(frozen=True)
class Patience:
    """Until when, by `time.monotonic`, somebody waits, and what is called several times a second and may raise."""

    deadline: float
    check: Callable[[], object]

    def test(self, name: str) -> None:
        """Raises what the check raises, and DeadlineExceeded when nobody waits any more."""
        self.check()
        if time.monotonic() > self.deadline:
            raise DeadlineExceeded(f"there was no time left to read {name}; allow more")


class Conversation:
    """Hands a process its task and the bytes it asks for, and returns its answers, all within limits.

    `bytes_read` is how many bytes it has been given.
    """

    def __init__(self, child: Child, source: ByteSource, limits: MediaLimits, patience: Patience) -> None:
        """Says whom to talk to, about which video, within which limits, and how long anybody waits."""
        self._child, self._source, self._limits, self._patience = child, source, limits, patience
        self._ends = time.monotonic() + limits.seconds
        self._left_to_read = _MAX_READ_FACTOR * source.size + _SPARE_READ_BYTES
        self.bytes_read = 0
        self._following = 0
        self._in_a_row = 0
        child.sock.setblocking(False)

    def tell(self, task: Mapping[str, Any], columns: Sequence[bytes]) -> None:
        """Hands over the task."""
        self._send(Kind.TASK, json.dumps(task).encode())
        for column in columns:
            self._send(Kind.BYTES, column)

    def answers(self, most: Mapping[Kind, int]) -> Iterator[tuple[Kind, bytes]]:
        """Yields each answer, of the kinds that `most` names and at most as long, until the process says it is done.

        Raises BadMedia when it does not come to that, ValueError for what the process may not say, and what the source
        and the check raise.
        """
        limits = {
            Kind.READ: RANGE.size,
            Kind.AHEAD: MAX_RANGES * RANGE.size,
            Kind.FAILED: _MAX_TEXT_BYTES,
            Kind.DONE: 0,
            **most,
        }
        while True:
            self._tick()
            number, length = HEAD.unpack(self._receive(HEAD.size))
            kind = Kind(number)
            if length > limits.get(kind, -1):
                raise ValueError(f"a message of kind {kind.name} with {length} bytes")
            data = self._receive(length)
            if kind is Kind.DONE:
                return
            if kind is Kind.READ:
                self._serve(*RANGE.unpack(data))
            elif kind is Kind.AHEAD:
                self._announce([RANGE.unpack_from(data, place) for place in range(0, length, RANGE.size)])
            elif kind is Kind.FAILED:
                raise self._failure(data)
            else:
                yield kind, data

    def _serve(self, offset: int, length: int) -> None:
        self._inside(offset, length)
        self._left_to_read -= max(length, _LEAST_COST)
        if self._left_to_read < 0:
            raise BadMedia(
                f"{self._source.name} is laid out so that its bytes have to be read more than {_MAX_READ_FACTOR} times "
                "over; rewrap it",
                reason="MEDIA_LIMIT_READS",
            )
        started = time.monotonic()
        self._notice(offset, length)
        data = self._source.read(offset, length)
        self.bytes_read += len(data)
        # Slow storage is no fault of the video's.
        self._ends += time.monotonic() - started
        self._send(Kind.BYTES, data)

    def _notice(self, offset: int, length: int) -> None:
        """Announces what follows, once the file is read straight on in the largest steps."""
        self._in_a_row = self._in_a_row + 1 if offset == self._following and length == MAX_READ else 0
        self._following = offset + length
        if self._in_a_row % _AHEAD == 1:
            places = range(offset, self._source.size, MAX_READ)[:_AHEAD]
            self._source.prefetch([(place, min(MAX_READ, self._source.size - place)) for place in places])

    def _announce(self, ranges: Sequence[tuple[int, int]]) -> None:
        for offset, length in ranges:
            self._inside(offset, length)
        self._source.prefetch(ranges)

    def _inside(self, offset: int, length: int) -> None:
        if not (0 < length <= MAX_READ and offset + length <= self._source.size):
            raise ValueError(f"{length} bytes from {offset} were asked for")

    def _failure(self, data: bytes) -> Exception:
        """Returns the error that the process says ended it, as far as it is one that a file may cause."""
        kind, reason, message = data.decode("utf-8", "replace").split("\0")
        if kind == MemoryError.__name__:
            return self._bad(
                "MEDIA_LIMIT_MEMORY",
                f"takes more than {self._limits.memory_bytes / 2**20:,.0f} MiB of memory, which is all that reading a "
                "video may take; use a file with smaller pictures, or raise media_memory_bytes",
            )
        if kind not in _ERRORS or reason not in _REASONS:
            raise ValueError(f"an error {kind} {reason}")
        printable = "".join(letter if letter.isprintable() else " " for letter in message)
        return _ERRORS[kind](printable[:_MAX_MESSAGE_CHARS], reason=reason)

    def _bad(self, reason: str, what: str) -> BadMedia:
        return BadMedia(f"{self._source.name} {what}", reason=reason)

    def _tick(self) -> None:
        self._patience.test(self._source.name)
        if time.monotonic() > self._ends:
            raise self._too_slow()

    def _too_slow(self) -> BadMedia:
        return self._bad(
            "MEDIA_LIMIT_TIME",
            f"takes longer than {self._limits.seconds:,.0f} s, which is all that reading a video may take; use a file "
            "that is easier to decode, or raise media_seconds",
        )

    def _receive(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            try:
                part = self._child.sock.recv(min(length - len(data), _CHUNK_BYTES))
            except BlockingIOError:
                self._wait(select.POLLIN)
                continue
            except OSError:
                part = b""
            if not part:
                raise self._gone()
            data += part
        return bytes(data)

    def _send(self, kind: Kind, data: bytes) -> None:
        for part in (memoryview(HEAD.pack(kind, len(data))), memoryview(data)):
            sent = 0
            while sent < len(part):
                try:
                    sent += self._child.sock.send(part[sent:])
                except BlockingIOError:
                    self._wait(select.POLLOUT)
                except OSError as error:
                    raise self._gone() from error

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._child.sock, event)
        while not poll.poll(1000 * _SLICE_SECONDS):
            self._tick()

    def _gone(self) -> BadMedia:
        """Returns what the end of the process says about the file."""
        status = self._child.end()
        number = status & 0x7F if status >= 0 else signal.SIGKILL
        if number == signal.SIGXCPU:
            return self._too_slow()
        how = f"was ended by {signal.Signals(number).name}" if number else "ended by itself"
        return self._bad(
            "MEDIA_CRASHED",
            f"cannot be read: the process that read it {how}; the file may be damaged, or an attack",
        )
