"""Gives the bytes of packets by their numbers, in few reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from longvideo.errors import BadMedia, VideoChanged
from longvideo.video.addressing import Addressing, from_name
from longvideo.video.containers import identify
from longvideo.video.demux import MEDIA_ERRORS, choose_stream, open_container
from longvideo.video.index import VideoIndex
from longvideo.video.source import ByteSource, SourceReader

# Two packets this close are read together: a request to object storage costs about as much as this many bytes.
MAX_GAP = 256 << 10
# No read is longer, so that memory does not grow with the group of pictures.
MAX_READ = 8 << 20


class PacketReader(Protocol):
    """Reads packets of one video.

    Attributes:
        sequential: Only one thread at a time may read, best in the order of the file.
    """

    sequential: bool

    def expect(self, runs: Sequence[Sequence[int]]) -> None:
        """Says what `read` will be called with, in about this order."""
        ...

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yields (number, bytes) for each of the ascending numbers."""
        ...


def open_packets(source: ByteSource, index: VideoIndex) -> PacketReader:
    """Returns the reader that fits the index."""
    addressing = from_name(index.packet_addressing)
    return DemuxedPackets(source) if addressing is None else DirectPackets(source, index, addressing)


class DirectPackets:
    """Reads packets from their places in the file, joining neighbours into one read."""

    sequential = False

    def __init__(self, source: ByteSource, index: VideoIndex, addressing: Addressing) -> None:
        self._source = source
        self._addressing = addressing
        self._offsets = index.packet_offsets
        self._extents = index.packet_extents
        self._skips = index.packet_skips
        self._sizes = index.packet_sizes

    def expect(self, runs: Sequence[Sequence[int]]) -> None:
        """Lets the source fetch what `read` will be called with, many ranges at once."""
        self._source.prefetch([self._range(batch) for numbers in runs for batch in self._batches(numbers)])

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yields (number, bytes) for each of the ascending numbers. Raises VideoChanged, StorageUnavailable."""
        for batch in self._batches(numbers):
            start, length = self._range(batch)
            data = memoryview(self._source.read(start, length))
            if len(data) < length:
                raise VideoChanged(f"{self._source.name} is shorter than when it was indexed; add the video again")
            for number in batch:
                at = int(self._offsets[number]) - start
                part = data[at : at + int(self._extents[number])]
                yield number, self._addressing.extract(part, int(self._skips[number]), int(self._sizes[number]))

    def _range(self, batch: Sequence[int]) -> tuple[int, int]:
        """Returns the offset and the length of the one read that covers the packets."""
        start = min(int(self._offsets[n]) for n in batch)
        return start, max(int(self._offsets[n] + self._extents[n]) for n in batch) - start

    def _batches(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        start = end = 0
        for number in numbers:
            low = int(self._offsets[number])
            high = low + int(self._extents[number])
            near = batch and start <= low <= end + MAX_GAP and high - start <= MAX_READ
            if batch and not near:
                yield batch
                batch = []
            if not batch:
                start, end = low, high
            batch.append(number)
            end = max(end, high)
        if batch:
            yield batch


class DemuxedPackets:
    """Reads packets by demultiplexing the file. Slow, and right for every container.

    It goes through the file once as long as what is asked for comes later and later; else it starts again.
    """

    sequential = True

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._packets: Iterator[bytes] = iter(())
        self._next = 0

    def expect(self, runs: Sequence[Sequence[int]]) -> None:
        """Does nothing: a demultiplexer finds its own way."""

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yields (number, bytes) for each of the ascending numbers. Raises BadMedia, VideoChanged."""
        for number in numbers:
            if number < self._next or not self._next:
                self._packets, self._next = self._demux(), 0
            for packet in self._packets:
                self._next += 1
                if self._next == number + 1:
                    yield number, packet
                    break

    def _demux(self) -> Iterator[bytes]:
        reader = SourceReader(self._source)
        with open_container(reader, identify(reader)) as opened:
            packets = opened.demux(choose_stream(opened, reader.name))
            while True:
                try:
                    packet = next(packets, None)
                except MEDIA_ERRORS as error:
                    raise BadMedia(f"{reader.name} is damaged", reason="MEDIA_DAMAGED") from error
                if packet is None:
                    return
                if packet.size:
                    yield bytes(packet)
