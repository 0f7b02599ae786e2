"""Decodes exactly the frames asked for, from byte ranges, without opening the container again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import av
import av.video.codeccontext
import av.video.frame
import numpy as np

from longvideo.cpus import processors
from longvideo.errors import BadMedia, DeadlineExceeded, InvalidArgument, VideoChanged
from longvideo.video.bitstream import DISPOSABLE
from longvideo.video.demux import DECODERS, KEY, MAX_PIXELS, MEDIA_ERRORS
from longvideo.video.index import VideoIndex
from longvideo.video.packets import PacketReader, open_packets
from longvideo.video.picture import Painter, fit
from longvideo.video.source import ByteSource

# Streams that recover gradually need more than the keyframe before; further back than this is damage.
MAX_TRIES = 3
# Codecs whose decoders answer every packet at once; one that gives no picture was damaged, even without an error.
IMMEDIATE = {"vp8", "vp9", "av1"}


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: The frame's place in presentation order, from 0.
        time: When it is shown, in seconds since the first frame.
        width: The picture's width in pixels, after scaling and rotation.
        height: The picture's height in pixels.
        jpeg: The picture.
    """

    index: int
    time: float
    width: int
    height: int
    jpeg: bytes


def read_frames(
    source: ByteSource,
    index: VideoIndex,
    frames: Sequence[int],
    longest_side: int,
    *,
    deadline: float | None = None,
    check: Callable[[], object] = lambda: None,
) -> list[Frame]:
    """Returns the frames with the given indexes, in the order asked, as JPEGs.

    Pictures are scaled down to `longest_side` pixels, never up. Frames that are damaged are left out. `deadline`, on
    the clock of `time.monotonic`, ends the work early, and so does whatever `check` raises; it is called often, from
    several threads. Raises InvalidArgument for an index outside the video,
    VideoChanged when the source is not the one that was indexed, DeadlineExceeded, and BadMedia with MEDIA_DAMAGED
    when none of the frames can be decoded.
    """
    check_request(source, index, frames, longest_side)
    if not frames:
        return []
    size = fit(index.width, index.height, longest_side)
    plan = _Plan(index)
    packets = _Hurried(open_packets(source, index), math.inf if deadline is None else deadline, check, source.name)
    jpegs: dict[int, bytes] = {}
    missing = set(frames)
    for back in range(MAX_TRIES):
        groups = plan.groups(missing, back)
        packets.expect([_needed(index, group) for group in groups])
        for found in _decode_all(index, packets, groups, size):
            jpegs |= found
        missing = {frame for frame in missing if frame not in jpegs and plan.can_go_back(frame, back + 1)}
        if not missing:
            break
    if not jpegs:
        raise BadMedia(
            f"{source.name} is damaged: none of the {len(set(frames))} frames asked for can be decoded",
            reason="MEDIA_DAMAGED",
        )
    return [Frame(n, float(index.times[n]), *size, jpegs[n]) for n in frames if n in jpegs]


class _Hurried:
    """Passes packets on until the deadline. Raises DeadlineExceeded, and what the check raises."""

    def __init__(self, packets: PacketReader, deadline: float, check: Callable[[], object], name: str) -> None:
        self.sequential = packets.sequential
        self._packets = packets
        self._deadline = deadline
        self._check = check
        self._name = name

    def expect(self, runs: Sequence[Sequence[int]]) -> None:
        self._packets.expect(runs)

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, bytes | memoryview]]:
        for item in self._packets.read(numbers):
            self._check()
            if time.monotonic() > self._deadline:
                raise DeadlineExceeded(f"there was no time left to decode the frames of {self._name}; allow more")
            yield item


def check_request(source: ByteSource, index: VideoIndex, frames: Iterable[int], longest_side: int) -> None:
    """Raises VideoChanged for another source than the one that was indexed, and InvalidArgument for bad numbers."""
    if (source.size, source.version) != (index.size, index.version):
        raise VideoChanged(f"{source.name} is not the file that was indexed; add the video again")
    if longest_side < 1:
        raise InvalidArgument(f"longest_side is {longest_side}; it must be at least 1", field="longest_side")
    for frame in frames:
        if not 0 <= frame < index.frame_count:
            raise InvalidArgument(
                f"frame {frame} does not exist; this video's frames go from 0 to {index.frame_count - 1}",
                field="frames",
            )


@dataclass(frozen=True)
class _Group:
    """A run of packets to decode: from a keyframe to the last one that a wanted frame needs."""

    start: int
    stop: int
    wanted: frozenset[int]


class _Plan:
    """Says where decoding has to start and end for each frame."""

    def __init__(self, index: VideoIndex) -> None:
        self._ranked_by_output = index.ranked_by_output
        self._keys = np.flatnonzero(index.packet_flags & KEY)
        if not len(self._keys):
            self._keys = np.zeros(1, np.int64)
        ranks = index.packet_ranks
        self._packet_count = len(ranks)
        self._packet_of = np.empty(index.frame_count, np.int64)
        shown = np.flatnonzero(ranks >= 0)
        self._packet_of[ranks[shown]] = shown
        # The first frame that is shown at or after each keyframe.
        firsts = ranks[self._keys]
        self._first_frames = np.where(firsts >= 0, firsts, -1 - firsts)

    def groups(self, frames: Iterable[int], back: int) -> list[_Group]:
        """Returns the runs that hold the frames, the longest first; `back` starts each that many keyframes earlier."""
        by_start: dict[int, set[int]] = {}
        for frame in frames:
            by_start.setdefault(max(0, self._key(frame) - back), set()).add(frame)
        groups = [self._group(key, frozenset(wanted)) for key, wanted in by_start.items()]
        return sorted(groups, key=lambda group: group.start - group.stop)

    def can_go_back(self, frame: int, back: int) -> bool:
        """Tells whether there are `back` keyframes before the one that the frame's decoding starts at."""
        return not self._ranked_by_output and self._key(frame) >= back

    def _key(self, frame: int) -> int:
        """Returns the number of the last keyframe before the frame, both in the file and in presentation."""
        packet = int(self._packet_of[frame])
        key = max(0, int(np.searchsorted(self._keys, packet, side="right")) - 1)
        while key > 0 and self._first_frames[key] > frame and not self._ranked_by_output:
            key -= 1
        return key

    def _group(self, key: int, wanted: frozenset[int]) -> _Group:
        start = int(self._keys[key])
        if self._ranked_by_output:
            stop = int(self._keys[key + 1]) if key + 1 < len(self._keys) else self._packet_count
        else:
            stop = 1 + max(int(self._packet_of[frame]) for frame in wanted)
        return _Group(start, stop, wanted)


def _decode_all(
    index: VideoIndex, packets: PacketReader, groups: Sequence[_Group], size: tuple[int, int]
) -> Iterator[dict[int, bytes]]:
    # Every decoder holds whole pictures, so large ones are decoded side by side less.
    side_by_side = max(1, MAX_PIXELS // (index.width * index.height))
    workers = min(len(groups), processors(), side_by_side)
    if packets.sequential:
        groups = sorted(groups, key=lambda group: group.start)
    if workers <= 1 or packets.sequential:
        yield from (_decode(index, packets, group, size) for group in groups)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="frames") as pool:
        yield from pool.map(lambda group: _decode(index, packets, group, size), groups)


def _decode(index: VideoIndex, packets: PacketReader, group: _Group, size: tuple[int, int]) -> dict[int, bytes]:
    """Returns the JPEGs of the wanted frames of one group that decode without damage."""
    painter = Painter(*size, index.orientation)
    found: dict[int, bytes] = {}
    for frame, picture in _pictures(index, packets, group):
        if frame in group.wanted and frame not in found:
            try:
                found[frame] = painter.paint(picture)
            except MEDIA_ERRORS:
                continue
        if len(found) == len(group.wanted):
            break
    return found


def _pictures(
    index: VideoIndex, packets: PacketReader, group: _Group
) -> Iterator[tuple[int, av.video.frame.VideoFrame]]:
    """Yields (frame index, picture) for every sound picture of a group, in the order of the decoder's output.

    Damage spreads from picture to picture until the next keyframe, and concealed pictures look sound; so once a
    packet fails, nothing that follows it is trusted. Only the pictures shown before the first keyframe may fail
    without harm: nothing after depends on them.
    """
    decoder = _open_decoder(index, group.start)
    ranks = index.packet_ranks
    keyframe_rank = int(ranks[group.start])
    first_trusted = keyframe_rank if keyframe_rank >= 0 else -1 - keyframe_rank
    tainted_from = group.stop
    output = 0

    def decode(packet: av.Packet[av.VideoStream] | None) -> Iterator[tuple[int, av.video.frame.VideoFrame]]:
        nonlocal tainted_from, output
        number = group.stop if packet is None else packet.pts or 0
        try:
            pictures = decoder.decode(packet)
        except MEDIA_ERRORS:
            if packet is None or not 0 <= ranks[number] < first_trusted:
                tainted_from = min(tainted_from, number)
            return
        if packet is not None and not pictures and index.codec in IMMEDIATE and ranks[number] >= 0:
            tainted_from = min(tainted_from, number)
        for picture in pictures:
            shown = picture.pts if picture.pts is not None else -1
            rank = first_trusted + output if index.ranked_by_output else int(ranks[shown])
            output += 1
            if picture.is_corrupt and rank >= first_trusted:
                tainted_from = min(tainted_from, shown)
            if shown >= 0 and rank >= 0 and shown < tainted_from and not picture.is_corrupt:
                yield rank, picture

    for number, data in packets.read(_needed(index, group)):
        # Decoders read a little past the end: only a packet that FFmpeg allocates has room for that.
        packet = cast("av.Packet[av.VideoStream]", av.Packet(len(data)))
        packet.update(cast("bytes", data))
        packet.pts = packet.dts = number
        packet.is_keyframe = bool(index.packet_flags[number] & KEY)
        yield from decode(packet)
    yield from decode(None)


def _needed(index: VideoIndex, group: _Group) -> list[int]:
    """Returns the numbers of the packets to decode: all but those that neither are wanted nor help another."""
    if index.ranked_by_output:
        return list(range(group.start, group.stop))
    part = slice(group.start, group.stop)
    needed = (index.packet_flags[part] & DISPOSABLE) == 0
    needed |= np.isin(index.packet_ranks[part], list(group.wanted))
    return [int(number) for number in group.start + np.flatnonzero(needed)]


def _open_decoder(index: VideoIndex, start: int) -> av.video.codeccontext.VideoCodecContext:
    decoder = av.CodecContext.create(DECODERS[index.codec], "r")
    assert isinstance(decoder, av.video.codeccontext.VideoCodecContext)
    # A file joined from parts may change the parameters at a keyframe.
    decoder.extradata = [data for first, data in index.extradata if first <= start][-1] or None
    if index.codec == "mpeg4" and index.codec_tag:
        # Some encoders have faults that the decoder makes up for when it knows their mark.
        decoder.codec_tag = index.codec_tag
    decoder.thread_count = 1
    decoder.reorder_depth = index.reorder_depth
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder
