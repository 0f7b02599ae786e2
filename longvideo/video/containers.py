"""Recognises a container by its first bytes, and tells whether a file ends too early.

The demultiplexer is chosen here and never by probing, so that a playlist, a concat script, an image or a bare
elementary stream cannot be opened, whatever the file is called.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from longvideo.errors import BadMedia
from longvideo.video.source import SourceReader


@dataclass(frozen=True)
class Container:
    """A supported container: the name shown to people, and FFmpeg's name of the demultiplexer that reads it."""

    name: str
    demuxer: str


MP4 = Container("mp4", "mov")
MOV = Container("mov", "mov")
MATROSKA = Container("matroska", "matroska")
WEBM = Container("webm", "matroska")
MPEG_TS = Container("mpegts", "mpegts")
AVI = Container("avi", "avi")

SUPPORTED = "MP4, MOV, Matroska (MKV), WebM, MPEG-TS and AVI"

# Boxes that may come first in ISO base media and QuickTime files.
_FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx"}
# Major brands of still images in the same container (ISO/IEC 23008-12, AVIF specification).
_IMAGE_BRANDS = {b"avif", b"avis", b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}
_EBML = b"\x1aE\xdf\xa3"
_SEGMENT = 0x18538067
# Transport packets are 188 bytes; Blu-ray puts 4 bytes before each, and some receivers 16 after it.
TS_SPACINGS = (188, 192, 204)
_TS_CHECKED = 5
_TS_PACKET = 188
# More top-level boxes than any sane fragmented file of two days has.
_MAX_BOXES = 100_000


def identify(reader: SourceReader) -> Container:
    """Returns the container. Raises BadMedia with MEDIA_EMPTY or MEDIA_UNSUPPORTED_CONTAINER."""
    head = reader.peek(0, 4096)
    if not head:
        raise BadMedia(f"{reader.name} is empty; give a video file", reason="MEDIA_EMPTY")
    if head[4:8] in _FIRST_BOXES and not (head[4:8] == b"ftyp" and head[8:12] in _IMAGE_BRANDS):
        return MOV if head[4:12] == b"ftypqt  " or head[4:8] != b"ftyp" else MP4
    if head.startswith(_EBML):
        return WEBM if b"webm" in head[:64] else MATROSKA
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return AVI
    if ts_layout(head) is not None:
        return MPEG_TS
    raise BadMedia(
        f"{reader.name} is no video that can be read; supported containers are {SUPPORTED}",
        reason="MEDIA_UNSUPPORTED_CONTAINER",
    )


def ts_layout(head: bytes) -> tuple[int, int] | None:
    """Returns where the first transport packet starts and how far packets lie apart, or None."""
    for spacing in TS_SPACINGS:
        for start in range(spacing):
            places = range(start, len(head), spacing)[:_TS_CHECKED]
            if len(places) >= min(_TS_CHECKED, max(2, len(head) // spacing)) and all(head[p] == 0x47 for p in places):
                return start, spacing
    return None


def ends_early(reader: SourceReader, container: Container, size: int) -> bool:
    """Tells whether the file's own structure reaches past its last byte: it was cut off.

    MPEG-TS says only how long its packets are, and live Matroska nothing: they may be cut off unnoticed.
    """
    if container.demuxer == "mov":
        return _box_end(reader, size) > size
    if container.demuxer == "matroska":
        return _segment_end(reader) > size
    if container is AVI:
        return _riff_end(reader, size) > size
    layout = ts_layout(reader.peek(0, 4096))
    return layout is not None and (size - layout[0]) % layout[1] not in {0, _TS_PACKET}


def _box_end(reader: SourceReader, size: int) -> int:
    position = 0
    for _ in range(_MAX_BOXES):
        head = reader.peek(position, 16)
        if len(head) < 8:
            return position + 8 if head else position
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0:
            return size
        position += max(length, 8)
        if position >= size:
            break
    return position


def _riff_end(reader: SourceReader, size: int) -> int:
    position = 0
    while position < size:
        head = reader.peek(position, 8)
        if len(head) < 8 or head[:4] != b"RIFF":
            break
        length: int = struct.unpack("<I", head[4:])[0]
        position += 8 + length + length % 2
    # Files over 4 GB of old recorders carry a length of nothing.
    return position if position > 8 else size


def _segment_end(reader: SourceReader) -> int:
    position = 0
    for _ in range(8):
        element, used = _vint(reader.peek(position, 8), keep_marker=True)
        length, more = _vint(reader.peek(position + used, 8), keep_marker=False)
        if not used or not more:
            return 0
        unknown = length == (1 << 7 * more) - 1
        position += used + more + length
        if element == _SEGMENT:
            return 0 if unknown else position
    return 0


def _vint(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """Returns an EBML number and how many bytes it takes; no bytes when it is malformed (RFC 8794, section 4)."""
    if not data or not data[0]:
        return 0, 0
    length = 9 - data[0].bit_length()
    if len(data) < length:
        return 0, 0
    number = int.from_bytes(data[:length], "big")
    return number if keep_marker else number & ~(1 << 7 * length), length
