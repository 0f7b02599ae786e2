"""The packet index of a video: built once, stored beside it, and enough to decode any frame from byte ranges."""

from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from longvideo.errors import BadMedia, FailedPrecondition
from longvideo.video import addressing
from longvideo.video.bitstream import INDEPENDENT, flags_of
from longvideo.video.containers import AVI, MPEG_TS, Container, ends_early, identify
from longvideo.video.demux import CORRUPT, HIDDEN, KEY, Scan, scan
from longvideo.video.source import ByteSource, SourceReader
from longvideo.video.trust import MAX_REORDER, MAX_SECONDS, check_counts, check_index

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_MAGIC: Final = b"LVIX"
# Raised whenever the meaning of the bytes changes; an index of another version is rebuilt.
_VERSION: Final = 2
# What the header says about the columns.
_SHAPE: Final = ("frames", "packets", "widths")
# How many bytes a number of a stored column may take.
_WIDTHS: Final = (1, 2, 4, 8)
_HEAD: Final = struct.Struct("<4sHHII")
# A transport stream whose clock runs back, or jumps ahead by this much, was joined from parts.
_CLOCK_BACK_SECONDS = 0.5
_CLOCK_AHEAD_SECONDS = 10.0
# Names, parameters and warnings of an index; the largest are a codec's parameters, once for every change of them.
_MAX_HEADER_BYTES: Final = 16 << 20


class BadIndex(FailedPrecondition):
    """Stored index bytes are damaged or of another version. The index has to be built again."""

    default_reason = "BAD_INDEX"


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """What is known about a video without decoding it.

    Times are in seconds since the first frame, sizes in bytes, widths and heights in square pixels as shown. The
    packet table (`packet_…`, `extradata`, ...) is in the order of the file and belongs to `read_frames`.

    Attributes:
        size: How many bytes the video has.
        version: The source's version when the index was built.
        container: The container's short name, for example `mp4`.
        codec: The codec's short name, for example `h264`.
        width: The width as shown, after rotation.
        height: The height as shown, after rotation.
        orientation: How a decoded picture is turned to be shown: 1 swaps the axes, then 2 mirrors left and right, and
            4 mirrors top and bottom.
        duration: From the first frame to the end of the last.
        times: When each frame is shown, in presentation order.
        warnings: What a user should know about this file.
    """

    size: int
    version: str
    container: str
    codec: str
    width: int
    height: int
    orientation: int
    duration: float
    warnings: tuple[str, ...]
    packet_addressing: str
    ranked_by_output: bool
    reorder_depth: int
    codec_tag: str
    extradata: tuple[tuple[int, bytes], ...] = dataclasses.field(repr=False)
    times: Floats = dataclasses.field(repr=False)
    packet_offsets: Ints = dataclasses.field(repr=False)
    packet_extents: Ints = dataclasses.field(repr=False)
    packet_skips: Ints = dataclasses.field(repr=False)
    packet_sizes: Ints = dataclasses.field(repr=False)
    packet_ranks: Ints = dataclasses.field(repr=False)
    packet_flags: npt.NDArray[np.uint8] = dataclasses.field(repr=False)

    @property
    def frame_count(self) -> int:
        """How many frames are shown."""
        return len(self.times)

    @property
    def frame_rate(self) -> float:
        """The mean frame rate in frames per second. Times never come from this number."""
        return self.frame_count / self.duration

    @property
    def keyframes(self) -> Ints:
        """The indexes of the frames that are keyframes, ascending. They cost the least to decode."""
        ranks = self.packet_ranks[(self.packet_flags & KEY) > 0]
        return np.sort(ranks[ranks >= 0])

    @property
    def rotation(self) -> int:
        """How far, in degrees clockwise, decoded pictures are turned to be shown: 0, 90, 180 or 270."""
        return {0: 0, 6: 180, 3: 90, 5: 270, 2: 0, 4: 180, 1: 90, 7: 270}[self.orientation]

    def to_bytes(self) -> bytes:
        """Returns the index as bytes for storage: a versioned header, deflated numbers and a checksum."""
        return _pack(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> VideoIndex:
        """Returns the index that `to_bytes` stored.

        The bytes may come from anybody. Raises BadIndex for those that are damaged, of another version or make no
        sense.
        """
        return _unpack(data)


def build_index(source: ByteSource) -> VideoIndex:
    """Demultiplexes a video once and returns its index.

    A file that was cut off is indexed as far as it can be read, with a warning that says how far that is. Raises
    BadMedia; its reason is MEDIA_EMPTY, MEDIA_UNSUPPORTED_CONTAINER, MEDIA_DAMAGED, MEDIA_NO_VIDEO,
    MEDIA_UNSUPPORTED_CODEC or MEDIA_TOO_LARGE.
    """
    reader = SourceReader(source)
    container = identify(reader)
    found = scan(reader, container)
    table = _Table(found, container, source.name)
    width, height, orientation = _shown(found)
    return VideoIndex(
        size=source.size,
        version=source.version,
        container=container.name,
        codec=found.codec,
        width=width,
        height=height,
        orientation=orientation,
        duration=table.duration,
        warnings=_warnings(found, table, ends_early(reader, container, source.size)),
        packet_addressing=addressing.to_name(found.addressing),
        ranked_by_output=table.ranked_by_output,
        reorder_depth=min(max(found.reorder_depth, table.reorder_depth), MAX_REORDER),
        codec_tag=found.codec_tag,
        extradata=tuple(found.extradata),
        times=table.times,
        packet_offsets=np.array(found.offsets, np.int64),
        packet_extents=np.array(found.extents, np.int64),
        packet_skips=np.array(found.skips, np.int64),
        packet_sizes=np.array(found.sizes, np.int64),
        packet_ranks=table.ranks,
        packet_flags=table.flags,
    )


class _Table:
    """Sorts the packets of a scan into presentation order.

    `ranks` gives each packet's frame index, or -1 minus the index of the frame after it when it is not shown.
    """

    def __init__(self, found: Scan, container: Container, name: str) -> None:
        flags = np.array(found.flags, np.uint8) | flags_of(found.classes)
        # AVI stores no presentation times. MPEG-4's follow from its frame types; H.264's and HEVC's only from decoding.
        self.ranked_by_output = container is AVI and found.codec in {"h264", "hevc"}
        stamps = self._stamps(found, container)
        shown = self._shown(stamps, flags)
        if not shown.any():
            raise BadMedia(f"{name} is damaged: it shows no frame", reason="MEDIA_DAMAGED")
        order = np.flatnonzero(shown)
        order = order[np.argsort(stamps[order], kind="stable")]
        self.flags = np.where(shown, flags & ~np.uint8(HIDDEN), flags | HIDDEN).astype(np.uint8)
        base = stamps[order[0]]
        scale = float(found.time_base)
        self.times = (stamps[order] - base).astype(np.float64) * scale
        self.ranks = -1 - np.searchsorted(stamps[order], stamps, side="left").astype(np.int64)
        self.ranks[order] = np.arange(len(order))
        self.reorder_depth = _reorder_depth(self.ranks[np.sort(order)])
        self.duration = self._duration(found, int(order[-1]), scale)
        if self.duration > MAX_SECONDS:
            raise BadMedia(
                f"{name} plays for {self.duration:.0f} s; at most {MAX_SECONDS:.0f} s are supported; cut it into parts",
                reason="MEDIA_TOO_LARGE",
            )

    def _stamps(self, found: Scan, container: Container) -> Ints:
        """Returns a presentation stamp for every packet, made up from its neighbours where the file has none."""
        stamps: list[int] = []
        previous = 0
        for pts, dts, duration in zip(found.pts, found.dts, found.durations, strict=True):
            first, second = (dts, pts) if self.ranked_by_output else (pts, dts)
            stamp = first if first is not None else second
            previous = stamp if stamp is not None else previous + max(duration, 1)
            stamps.append(previous)
        # Differences of stamps this large would overflow.
        result: Ints = np.clip(np.array(stamps, np.int64), -(2**61), 2**61)
        return _joined(result, found) if container is MPEG_TS else result

    def _shown(self, stamps: Ints, flags: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Tells which packets give a frame: none that is flagged away, and none before the first keyframe."""
        shown: npt.NDArray[np.bool_] = (flags & HIDDEN) == 0
        if flags[-1] & CORRUPT:
            shown[-1] = False
        keys = np.flatnonzero(flags & KEY)
        if len(keys):
            first = int(keys[0])
            shown[:first] = False
            if not self.ranked_by_output:
                shown &= (stamps >= stamps[first]) | (flags & INDEPENDENT > 0)
        return shown

    def _duration(self, found: Scan, last: int, scale: float) -> float:
        steps = np.diff(self.times)
        step = found.durations[last] * scale
        if not 0 < step <= MAX_SECONDS:
            step = float(np.median(steps)) if len(steps) else 0.0
        # A still picture with no length at all counts as one frame of television.
        return float(self.times[-1]) + (step if step > 0 else 1 / 25)


def _reorder_depth(ranks: Ints) -> int:
    """Returns how many frames at most come before another in the file and after it in presentation.

    Streams need not say so; a decoder that has to guess drops frames until it guesses right.
    """
    before = np.zeros(len(ranks), np.int64)
    for distance in range(1, min(MAX_REORDER, len(ranks))):
        before[distance:] += ranks[:-distance] > ranks[distance:]
    return min(int(before.max()), MAX_REORDER)


def _joined(stamps: Ints, found: Scan) -> Ints:
    """Returns the stamps of a transport stream with the jumps of its clock taken out."""
    back, ahead = (int(limit / found.time_base) for limit in (_CLOCK_BACK_SECONDS, _CLOCK_AHEAD_SECONDS))
    decoding = np.array([s if d is None else d for s, d in zip(stamps.tolist(), found.dts, strict=True)], np.int64)
    steps = np.diff(decoding)
    if not np.any(jumps := (steps < -back) | (steps > ahead)):
        return stamps
    usual = int(np.median(steps[~jumps])) if not jumps.all() else 0
    correction: Ints = np.concatenate([[0], np.cumsum(np.where(jumps, usual - steps, 0))])
    return stamps + correction


def _shown(found: Scan) -> tuple[int, int, int]:
    """Returns width and height in square pixels as shown, and the orientation that leads there."""
    width, height = found.coded_width, found.coded_height
    aspect = found.aspect if Fraction(1, 16) <= found.aspect <= 16 else Fraction(1)
    if aspect > 1:
        width = round(width * aspect)
    else:
        height = round(height / aspect)
    orientation = _orientation(found.matrix)
    return (height, width, orientation) if orientation & 1 else (width, height, orientation)


def _orientation(matrix: tuple[int, ...]) -> int:
    """Reduces a display matrix (ISO/IEC 14496-12, 8.3.2) to the nearest right angle and mirroring."""
    if not matrix:
        return 0
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return 2 * (a < 0) + 4 * (d < 0)
    return 1 + 2 * (c < 0) + 4 * (b < 0)


def _warnings(found: Scan, table: _Table, cut_off: bool) -> tuple[str, ...]:
    readable = table.duration
    # Within a frame or two, the file's own idea of its length and ours may differ.
    short = found.expected_seconds > readable + 2 * readable / len(table.times)
    if cut_off or (short and found.expected_packets > len(found.sizes)):
        cause = "truncated"
    elif not found.complete:
        cause = "damaged"
    else:
        return ()
    whole = f" of {found.expected_seconds:.1f} s" if short else ""
    return (f"The file is {cause}: {readable:.1f} s{whole} can be read.",)


_ARRAYS = ("times", "packet_offsets", "packet_extents", "packet_skips", "packet_sizes", "packet_ranks", "packet_flags")
_FIELDS = tuple(f.name for f in dataclasses.fields(VideoIndex) if f.name not in {*_ARRAYS, "extradata", "warnings"})


def _pack(index: VideoIndex) -> bytes:
    # Differences of neighbours are small and alike; grouped by byte significance, they deflate to a few bits each.
    columns = [
        np.diff(index.times.view(np.int64), prepend=0),
        np.diff(index.packet_offsets - _starts(index.packet_extents), prepend=0),
        index.packet_extents,
        index.packet_skips,
        index.packet_extents - index.packet_sizes,
        np.diff(index.packet_ranks, prepend=0),
        index.packet_flags.astype(np.int64),
    ]
    widths = [_width(column) for column in columns]
    numbers = b"".join(
        column.astype(f"<i{width}").view(np.uint8).reshape(-1, width).T.tobytes()
        for column, width in zip(columns, widths, strict=True)
    )
    header: dict[str, Any] = {name: getattr(index, name) for name in _FIELDS}
    header |= {"frames": index.frame_count, "packets": len(index.packet_sizes), "widths": widths}
    header |= {"warnings": list(index.warnings), "extradata": [(first, data.hex()) for first, data in index.extradata]}
    body = zlib.compress(json.dumps(header).encode() + b"\n" + numbers, 6)
    return _HEAD.pack(_MAGIC, _VERSION, 0, len(body), zlib.crc32(body)) + body


def _width(column: Ints) -> int:
    """Returns how many bytes hold every number of a column: loading an index is mostly inflating what says nothing."""
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    return next(width for width in _WIDTHS if -(1 << 8 * width - 1) <= low and high < 1 << 8 * width - 1)


def _starts(sizes: Ints) -> Ints:
    return np.cumsum(sizes) - sizes


def _unpack(data: bytes) -> VideoIndex:
    magic, version, _, length, checksum = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (b"", 0, 0, 0, 0)
    body = data[_HEAD.size :]
    if magic != _MAGIC or (version == _VERSION and (len(body) != length or zlib.crc32(body) != checksum)):
        raise BadIndex("the stored video index is damaged; build it again", reason="INDEX_DAMAGED")
    if version != _VERSION:
        raise BadIndex(
            f"the stored video index has version {version}, not {_VERSION}; build it again", reason="INDEX_VERSION"
        )
    try:
        header, numbers = _inflated(body)
        columns, at = [], 0
        for count, width in _shape(header):
            planes = np.frombuffer(numbers, np.uint8, count * width, at).reshape(width, count)
            columns.append(np.ascontiguousarray(planes.T).view(f"<i{width}").ravel().astype(np.int64))
            at += count * width
        for name in _SHAPE:
            del header[name]
        times, gaps, extents, skips, lost, ranks, flags = columns
        header["warnings"] = tuple(header["warnings"])
        header["extradata"] = tuple((first, bytes.fromhex(text)) for first, text in header["extradata"])
        index = VideoIndex(
            **header,
            times=np.cumsum(times).view(np.float64),
            packet_offsets=np.cumsum(gaps) + _starts(extents),
            packet_extents=extents,
            packet_skips=skips,
            packet_sizes=extents - lost,
            packet_ranks=np.cumsum(ranks),
            packet_flags=flags.astype(np.uint8),
        )
        check_index(index)
    except (zlib.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadIndex("the stored video index is damaged; build it again", reason="INDEX_DAMAGED") from error
    return index


def _inflated(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Returns the header and the numbers, never more of them than the header says. Raises ValueError for the rest."""
    inflater = zlib.decompressobj()
    head, found, numbers = inflater.decompress(body, _MAX_HEADER_BYTES).partition(b"\n")
    header: dict[str, Any] = json.loads(head)
    length = sum(count * width for count, width in _shape(header))
    if len(numbers) < length:
        numbers += inflater.decompress(inflater.unconsumed_tail, length - len(numbers))
    if not found or len(numbers) != length:
        raise ValueError("the numbers are not as many as the header says")
    return header, numbers


def _shape(header: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Returns how many numbers each column has, and how many bytes each takes. Raises ValueError, KeyError."""
    frames, packets, widths = (header[name] for name in _SHAPE)
    check_counts(frames, packets)
    if not set(widths) <= set(_WIDTHS):
        raise ValueError("a column has numbers of a size that there is not")
    return list(zip((frames, *(6 * (packets,))), widths, strict=True))
