"""Reads every packet of a video's picture stream once, without trusting the file."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NoReturn, cast

import av
import av.container
import av.error
import av.video.codeccontext
import av.video.frame
import av.video.stream
from av.sidedata.sidedata import SideData, Type
from av.stream import Discard, Disposition

from longvideo.errors import BadMedia
from longvideo.video.addressing import Addressing, addressing_of
from longvideo.video.bitstream import Classifier, PictureClass
from longvideo.video.containers import Container
from longvideo.video.source import SourceReader

# The decoder of each supported codec, by FFmpeg's names. FFmpeg's own `av1` decoder needs hardware.
DECODERS: Mapping[str, str] = {
    "h264": "h264",
    "hevc": "hevc",
    "vp8": "vp8",
    "vp9": "vp9",
    "av1": "libdav1d",
    "mpeg4": "mpeg4",
    "mpeg2video": "mpeg2video",
}
CODEC_NAMES = "H.264, HEVC, VP8, VP9, AV1, MPEG-4 and MPEG-2"

MAX_SIDE = 16384
# 8K television, with some room. A decoder may hold seventeen pictures at once.
MAX_PIXELS = 8192 * 4608
# Ten hours at 110 frames a second.
MAX_PACKETS = 4_000_000
MAX_SCAN_SECONDS = 900.0
# A decoder shows its first picture after at most 16 reordered ones; the rest is patience with a damaged start.
MAX_PROBED_PACKETS = 300
# Bits of a packet's flags; `longvideo.video.bitstream` has more.
KEY, HIDDEN, CORRUPT = 1, 2, 4

# What may go wrong inside FFmpeg and PyAV on hostile bytes. Our own errors pass through.
MEDIA_ERRORS = (av.error.FFmpegError, ValueError, ArithmeticError, AssertionError, IndexError)


@dataclass
class Scan:
    """What one pass over the packets of the picture stream found. Lists are in the order of the file.

    `extradata` are the decoder's parameters from outside the packets, each with the number of the first packet that
    they hold for.
    """

    codec: str
    codec_tag: str
    time_base: Fraction
    extradata: list[tuple[int, bytes]]
    reorder_depth: int
    expected_seconds: float
    expected_packets: int
    coded_width: int = 0
    coded_height: int = 0
    aspect: Fraction = Fraction(1)
    matrix: tuple[int, ...] = ()
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    extents: list[int] = field(default_factory=list)
    skips: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    classes: list[PictureClass] = field(default_factory=list)
    addressing: Addressing | None = None
    complete: bool = True


def _refuse_file(*_: object) -> NoReturn:
    raise ValueError("a video may not name other files")


@contextlib.contextmanager
def open_container(reader: SourceReader, container: Container) -> Iterator[av.container.InputContainer]:
    """Opens a container for demultiplexing: one demuxer, one stream of bytes, no protocols, no other files.

    Raises BadMedia with MEDIA_DAMAGED when its headers cannot be read.
    """
    reader.seek(0)
    options = {
        "protocol_whitelist": "none",
        "format_whitelist": ",".join(sorted(av.format.ContainerFormat(container.demuxer, "r").name.split(","))),
        "codec_whitelist": ",".join(DECODERS.values()),
        "max_streams": "100",
        "max_pixels": str(MAX_PIXELS),
    }
    try:
        opened = av.open(
            reader,
            "r",
            format=container.demuxer,
            options=options,
            metadata_errors="replace",
            buffer_size=1 << 16,
            io_open=_refuse_file,
        )
    except MEDIA_ERRORS as error:
        raise BadMedia(
            f"{reader.name} is damaged: its {container.name} headers cannot be read; "
            "perhaps the recording or the download was cut off",
            reason="MEDIA_DAMAGED",
        ) from error
    with contextlib.closing(opened):
        yield opened


def choose_stream(opened: av.container.InputContainer, name: str) -> av.video.stream.VideoStream:
    """Returns the stream of moving pictures: the container's default, else the first; never cover art.

    Raises BadMedia with MEDIA_NO_VIDEO, MEDIA_UNSUPPORTED_CODEC or MEDIA_TOO_LARGE.
    """
    pictures = [s for s in opened.streams.video if not s.disposition & (Disposition.attached_pic)]
    if not pictures:
        raise BadMedia(f"{name} holds no video, only sound or data; give a file with pictures", reason="MEDIA_NO_VIDEO")
    usable = [s for s in pictures if _codec(s) in DECODERS]
    if not usable:
        codecs = ", ".join(sorted({_codec(s) or "an unknown one" for s in pictures}))
        raise BadMedia(
            f"{name} uses a codec that cannot be decoded here ({codecs}); supported codecs are {CODEC_NAMES}",
            reason="MEDIA_UNSUPPORTED_CODEC",
            codec=codecs,
        )
    stream = next((s for s in usable if s.disposition & Disposition.default), usable[0])
    width, height = stream.codec_context.width, stream.codec_context.height
    check_dimensions(width, height, name)
    for other in opened.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


def check_dimensions(width: int, height: int, name: str) -> None:
    """Raises BadMedia with MEDIA_TOO_LARGE for pictures that would take too much memory."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadMedia(
            f"{name} has pictures of {width}x{height} pixels; at most {MAX_SIDE} a side and {MAX_PIXELS} in all "
            "are decoded",
            reason="MEDIA_TOO_LARGE",
        )


def _codec(stream: av.video.stream.VideoStream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""


def _codec_tag(stream: av.video.stream.VideoStream) -> str:
    """Returns the container's four letters for the codec, empty when they are none. They tell MPEG-4 encoders apart."""
    try:
        tag = stream.codec_context.codec_tag
    except UnicodeDecodeError:
        return ""
    return tag if tag.isprintable() else ""


def scan(reader: SourceReader, container: Container, max_packets: int = MAX_PACKETS) -> Scan:
    """Demultiplexes the whole file and returns its packets.

    One picture is decoded, to learn what only a decoder knows: the true size, the aspect and the orientation.
    Raises BadMedia.
    """
    with open_container(reader, container) as opened:
        stream = choose_stream(opened, reader.name)
        context = stream.codec_context
        time_base = stream.time_base or Fraction(1, 1000)
        found = Scan(
            codec=_codec(stream),
            codec_tag=_codec_tag(stream),
            time_base=time_base,
            extradata=[(0, context.extradata or b"")],
            reorder_depth=context.reorder_depth,
            expected_seconds=_expected_seconds(opened, stream, time_base),
            expected_packets=stream.frames,
            addressing=addressing_of(reader, container),
        )
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_PIXELS)}
        classifier = Classifier(found.codec, found.extradata[0][1])
        probe = _Probe(context)
        deadline = time.monotonic() + MAX_SCAN_SECONDS
        try:
            for packet in opened.demux(stream):
                if packet.size:
                    _record(found, packet, reader)
                    found.classes.append(classifier.classify(memoryview(packet)))
                    probe.feed(packet)
                if len(found.sizes) > max_packets or time.monotonic() > deadline:
                    raise BadMedia(
                        f"{reader.name} has more than {max_packets} packets, or takes longer than "
                        f"{MAX_SCAN_SECONDS:.0f} s to read; cut it into parts",
                        reason="MEDIA_TOO_LARGE",
                    )
        except MEDIA_ERRORS:
            # What was read so far is sound; the index says how far that is.
            found.complete = False
        probe.finish()
    if not found.sizes or probe.picture is None:
        raise BadMedia(f"{reader.name} is damaged: no picture of it can be decoded", reason="MEDIA_DAMAGED")
    check_dimensions(probe.picture.width, probe.picture.height, reader.name)
    found.coded_width, found.coded_height = probe.picture.width, probe.picture.height
    found.aspect, found.matrix = probe.aspect, probe.matrix
    return found


def _expected_seconds(
    opened: av.container.InputContainer, stream: av.video.stream.VideoStream, time_base: Fraction
) -> float:
    """Returns how long the file says its pictures play, 0 when it does not say."""
    if opened.format.name == "avi" and stream.frames and stream.average_rate:
        # FFmpeg's duration of an AVI file is guessed from the bytes that are there.
        return float(stream.frames / stream.average_rate)
    if stream.duration:
        return float(stream.duration * time_base)
    # Matroska's duration covers the sound too; most writers tag each track with its own.
    with contextlib.suppress(ValueError):
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return opened.duration / av.time_base if opened.duration else 0.0


def _record(found: Scan, packet: av.Packet[av.video.stream.VideoStream], reader: SourceReader) -> None:
    flags = KEY * packet.is_keyframe | HIDDEN * packet.is_discard | CORRUPT * packet.is_corrupt
    place = None
    if found.addressing is not None:
        place = found.addressing.locate(reader, packet.pos, memoryview(packet)) if packet.pos is not None else None
        if place is None:
            found.addressing = None
    offset, extent, skip = place or (0, 0, 0)
    if packet.has_sidedata("new_extradata"):
        found.extradata.append((len(found.sizes), bytes(packet.get_sidedata("new_extradata"))))
    # In VP8 the fifth bit of a frame says whether it is shown (RFC 6386, section 9.1).
    if found.codec == "vp8" and not memoryview(packet)[0] & 0x10:
        flags |= HIDDEN
    found.pts.append(packet.pts)
    found.dts.append(packet.dts)
    found.durations.append(packet.duration or 0)
    found.offsets.append(offset)
    found.extents.append(extent)
    found.skips.append(skip)
    found.sizes.append(packet.size)
    found.flags.append(flags)


class _Probe:
    """Decodes from the first keyframe until one picture comes out."""

    def __init__(self, context: av.video.codeccontext.VideoCodecContext) -> None:
        self._context = context
        self._fed = 0
        self._done = False
        self.picture: av.video.frame.VideoFrame | None = None
        self.matrix: tuple[int, ...] = ()
        self.aspect = Fraction(1)

    def feed(self, packet: av.Packet[av.video.stream.VideoStream]) -> None:
        if self._done or not (self._fed or packet.is_keyframe):
            return
        self._fed += 1
        self._take(packet)
        if self._fed >= MAX_PROBED_PACKETS:
            self.finish()

    def finish(self) -> None:
        if not self._done:
            self._take(None)
            self._done = True

    def _take(self, packet: av.Packet[av.video.stream.VideoStream] | None) -> None:
        try:
            frames = self._context.decode(packet)
        except MEDIA_ERRORS:
            return
        if frames:
            self._done = True
            self.picture = frames[0]
            self.matrix = _display_matrix(frames[0])
            self.aspect = self._context.sample_aspect_ratio or Fraction(1)


def _display_matrix(frame: av.video.frame.VideoFrame) -> tuple[int, ...]:
    data = cast("Mapping[Type, SideData]", frame.side_data).get(Type.DISPLAYMATRIX)
    return struct.unpack("<9i", bytes(data)) if data is not None and data.buffer_size == 36 else ()
