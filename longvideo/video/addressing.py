"""Finds a packet's bytes in the file when the index is built, and takes them out again when frames are read.

Nothing is assumed about a demultiplexer: a place counts only when its bytes are the packet's bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from longvideo.video.containers import MPEG_TS, Container, ts_layout
from longvideo.video.source import SourceReader

# Between a block's position and its data lies a header; the largest, Matroska's, takes well below 64 bytes.
_HEADER_WINDOW = 64
_TS_PACKET = 188
_SYNC = 0x47
# So much of a packet is searched for; the rest is compared where that is found.
_NEEDLE = 32
# How far a picture of a transport stream may be spread out between other programmes, in multiples of its size.
_MAX_SPREAD = 64

Rows = npt.NDArray[np.uint8]


class Place(NamedTuple):
    """The part of a file that holds a packet: `extent` bytes from `offset`, of whose contents `skip` come before."""

    offset: int
    extent: int
    skip: int = 0


class Addressing(Protocol):
    """How packets lie in the file."""

    def locate(self, reader: SourceReader, position: int, packet: memoryview) -> Place | None:
        """Returns the part of the file that holds a packet, or None. The packet begins near `position`."""
        ...

    def extract(self, part: memoryview, skip: int, size: int) -> bytes | memoryview:
        """Returns the packet of `size` bytes that a part of the file holds."""
        ...


@dataclass(frozen=True)
class Plain:
    """Packets lie in one piece, as in MP4, Matroska and AVI."""

    def locate(self, reader: SourceReader, position: int, packet: memoryview) -> Place | None:
        """Returns where the packet lies, at `position` or shortly after it, or None."""
        lead = _find(reader.peek(position, len(packet) + _HEADER_WINDOW), bytes(packet))
        return Place(position + lead, len(packet)) if lead >= 0 else None

    def extract(self, part: memoryview, skip: int, size: int) -> bytes | memoryview:
        """Returns `size` bytes."""
        return part[skip : skip + size]


@dataclass(frozen=True)
class Transport:
    """Packets are cut into transport packets of 188 bytes that lie `spacing` bytes apart (ISO/IEC 13818-1)."""

    spacing: int

    def locate(self, reader: SourceReader, position: int, packet: memoryview) -> Place | None:
        """Returns the run of transport packets that holds the packet, or None."""
        position += self._to_sync(reader.peek(position, 3 * self.spacing))
        guess = len(packet) + len(packet) // 4 + 8 * self.spacing
        while guess < _MAX_SPREAD * (len(packet) + 8 * self.spacing):
            part = reader.peek(position, guess)
            payload, ends = self._payload(memoryview(part))
            skip = _find(payload, bytes(packet))
            if skip >= 0:
                last = int(np.searchsorted(ends[:, 1], skip + len(packet)))
                return Place(position, int(ends[last, 0]), skip)
            if len(part) < guess:
                return None
            guess *= 2
        return None

    def extract(self, part: memoryview, skip: int, size: int) -> bytes | memoryview:
        """Returns `size` bytes of the elementary stream that starts the part."""
        return self._payload(part)[0][skip : skip + size]

    def _to_sync(self, head: bytes) -> int:
        """Returns how far the transport packet lies behind the position, which counts some foreign bytes too."""
        for lead in range(self.spacing - _TS_PACKET + 1):
            syncs = head[lead :: self.spacing]
            if syncs and all(byte == _SYNC for byte in syncs) and head[lead + 1 : lead + 2] >= b"\x40":
                return lead
        return 0

    def _payload(self, part: memoryview) -> tuple[bytes, npt.NDArray[np.int64]]:
        """Returns the bytes of the elementary stream of the first transport packet.

        Also returns, for each of its transport packets, where it ends in the part, and how many bytes of the
        elementary stream have come by then.
        """
        rows = self._rows(part)
        pids = (rows[:, 1].astype(np.int64) & 0x1F) << 8 | rows[:, 2]
        mine = np.flatnonzero((pids == pids[0]) & (rows[:, 0] == _SYNC)) if len(rows) else np.zeros(0, np.int64)
        own = rows[mine]
        # The adaptation field, if any, comes between the header and the payload; without payload nothing is left.
        control = own[:, 3] >> 4 & 3
        starts = np.where(control & 2, 5 + own[:, 4].astype(np.int64), 4)
        starts = np.where(control & 1, starts, _TS_PACKET)
        for number in np.flatnonzero(own[:, 1] & 0x40):
            starts[number] = self._after_header(own[number], int(starts[number]))
        inside = np.arange(_TS_PACKET) >= starts[:, None]
        lengths = np.cumsum(np.maximum(_TS_PACKET - starts, 0))
        return own[inside].tobytes(), np.column_stack([mine * self.spacing + _TS_PACKET, lengths])

    def _rows(self, part: memoryview) -> Rows:
        count = (len(part) - _TS_PACKET) // self.spacing + 1 if len(part) >= _TS_PACKET else 0
        padded = np.zeros(count * self.spacing, np.uint8)
        usable = min(len(part), len(padded))
        padded[:usable] = np.frombuffer(part[:usable], np.uint8)
        return padded.reshape(count, self.spacing)[:, :_TS_PACKET]

    def _after_header(self, row: npt.NDArray[np.uint8], start: int) -> int:
        """Returns where the elementary stream begins in a transport packet that starts a PES packet."""
        if start + 9 > _TS_PACKET or bytes(row[start : start + 3]) != b"\0\0\1":
            return start
        return min(_TS_PACKET, start + 9 + int(row[start + 8]))


def _find(data: bytes, packet: bytes) -> int:
    """Returns where the packet lies in the data, or -1. Python's own search takes long to prepare for a long one."""
    needle = packet[:_NEEDLE]
    found = data.find(needle)
    while found >= 0 and not data.startswith(packet, found):
        found = data.find(needle, found + 1)
    return found


def addressing_of(reader: SourceReader, container: Container) -> Addressing:
    """Returns how packets lie in a file of this container."""
    if container is not MPEG_TS:
        return Plain()
    layout = ts_layout(reader.peek(0, 4096))
    return Transport(layout[1] if layout else _TS_PACKET)


def to_name(addressing: Addressing | None) -> str:
    """Returns a short text for storage. None stands for packets that only a demultiplexer finds again."""
    if addressing is None:
        return "demuxed"
    return f"transport/{addressing.spacing}" if isinstance(addressing, Transport) else "plain"


def from_name(name: str) -> Addressing | None:
    """Returns what `to_name` was given. Raises ValueError for any other text."""
    if name == "demuxed":
        return None
    if name == "plain":
        return Plain()
    kind, _, spacing = name.partition("/")
    if kind != "transport":
        raise ValueError(f"unknown addressing {name}")
    return Transport(int(spacing))
