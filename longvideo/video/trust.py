"""Checks a packet index that comes from a process that a video may have taken over, or from a store.

What passes makes sense in itself: whoever uses it reads within the video, finds every frame, and needs no more memory
than its packets say. Whether it is true, only the video could tell.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from longvideo.video.addressing import from_name
from longvideo.video.containers import AVI, MATROSKA, MOV, MP4, MPEG_TS, TS_SPACINGS, WEBM
from longvideo.video.demux import DECODERS, MAX_PACKETS, MAX_PIXELS, MAX_SIDE

if TYPE_CHECKING:
    from longvideo.video.index import VideoIndex

MAX_SECONDS: Final = 48 * 3600.0
# No supported codec lets more pictures wait than this (ITU-T H.264 and H.265: 16).
MAX_REORDER: Final = 16
# Square pixels may stretch a picture by sixteen at most.
_MAX_STRETCH: Final = 16
_MAX_WARNINGS, _MAX_WARNING_CHARS = 10, 500
_MAX_PACKET_BYTES: Final = 2**31 - 1
_CONTAINERS: Final = {each.name for each in (MP4, MOV, MATROSKA, WEBM, MPEG_TS, AVI)}
_LAYOUTS: Final = {"demuxed", "plain", *(f"transport/{spacing}" for spacing in TS_SPACINGS)}


def check_counts(frames: object, packets: object) -> None:
    """Raises ValueError unless these are numbers of frames and packets that a video may have."""
    _require(_is_count(frames) and _is_count(packets))
    _require(1 <= frames <= packets <= MAX_PACKETS)  # type: ignore[operator]  # they are numbers by now


def check_index(index: VideoIndex) -> None:
    """Raises ValueError for an index that makes no sense."""
    _check_header(index)
    _check_frames(index)
    _check_places(index)


def _check_header(index: VideoIndex) -> None:
    texts = (index.version, index.container, index.codec, index.packet_addressing, index.codec_tag, *index.warnings)
    _require(all(isinstance(text, str) and text.isprintable() for text in texts))
    _require(index.container in _CONTAINERS and index.codec in DECODERS and index.packet_addressing in _LAYOUTS)
    from_name(index.packet_addressing)
    _require(len(index.codec_tag) <= 4 and len(index.warnings) <= _MAX_WARNINGS)
    _require(all(len(warning) <= _MAX_WARNING_CHARS for warning in index.warnings))
    numbers = (index.size, index.width, index.height, index.orientation, index.reorder_depth)
    _require(all(map(_is_count, numbers)) and isinstance(index.ranked_by_output, bool))
    _require(min(index.width, index.height) >= 1 and max(index.width, index.height) <= MAX_SIDE * _MAX_STRETCH)
    _require(index.width * index.height <= MAX_PIXELS * _MAX_STRETCH)
    _require(index.orientation <= 7 and index.reorder_depth <= MAX_REORDER)
    firsts = [first for first, _ in index.extradata]
    _require(all(map(_is_count, firsts)) and firsts[:1] == [0] and firsts == sorted(firsts))


def _check_frames(index: VideoIndex) -> None:
    """Times go on, and each frame is shown by exactly one packet."""
    times, ranks, frames = index.times, index.packet_ranks, index.frame_count
    _require(isinstance(index.duration, float) and math.isfinite(index.duration))
    _require(bool(np.isfinite(times).all()) and times[0] == 0 and bool((np.diff(times) >= 0).all()))
    _require(0 < index.duration <= MAX_SECONDS and times[-1] <= index.duration)
    shown = ranks[ranks >= 0]
    _require(len(shown) == frames and int(ranks.min()) >= -1 - frames)
    _require(bool((np.bincount(shown, minlength=frames) == 1).all()) if int(shown.max()) < frames else False)


def _check_places(index: VideoIndex) -> None:
    """Packets lie within the video, and are no larger than what holds them."""
    offsets, extents = index.packet_offsets, index.packet_extents
    skips, sizes = index.packet_skips, index.packet_sizes
    _require(min(int(column.min()) for column in (offsets, extents, skips)) >= 0 and int(sizes.min()) > 0)
    _require(max(int(column.max()) for column in (offsets, extents)) <= index.size)
    _require(bool((offsets + extents <= index.size).all()) and int(sizes.max()) <= _MAX_PACKET_BYTES)
    if index.packet_addressing != "demuxed":
        _require(int(skips.max()) <= index.size and bool((skips + sizes <= extents).all()))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _require(sense: bool) -> None:
    if not sense:
        raise ValueError("the index makes no sense")
