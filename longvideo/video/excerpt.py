"""The part of a packet index that reading some frames needs: of ten hours, for one clip, a thousandth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from longvideo.video.addressing import from_name
from longvideo.video.demux import KEY
from longvideo.video.frames import MAX_TRIES
from longvideo.video.index import VideoIndex


def excerpt(index: VideoIndex, frames: Sequence[int]) -> tuple[VideoIndex, int]:
    """Returns an index that gives the same pictures for `frames`, and the number of its first frame.

    That is the whole index where packets are found by counting them, or where keyframes are not shown in the order of
    the file, so that nobody can tell where a decoder would have to start.
    """
    keys = np.flatnonzero(index.packet_flags & KEY)
    ranks = index.packet_ranks
    # For a packet that is not shown, the frame after it.
    near = np.where(ranks >= 0, ranks, -1 - ranks)
    firsts = near[keys]
    if from_name(index.packet_addressing) is None or not len(keys) or not frames or (np.diff(firsts) < 0).any():
        return index, 0
    packets = np.flatnonzero(np.isin(ranks, frames))
    # The last keyframe before all of them in the file and in presentation, and those that a reader may go back to.
    before = min(
        int(np.searchsorted(keys, packets.min(), side="right")),
        int(np.searchsorted(firsts, min(frames), side="right")),
    )
    after = int(np.searchsorted(keys, packets.max(), side="right"))
    start = int(keys[max(0, before - MAX_TRIES)]) if before else 0
    stop = int(keys[after]) if after < len(keys) else len(ranks)
    base = int(near[start:stop].min())
    return _between(index, start, stop, base), base


def _between(index: VideoIndex, start: int, stop: int, base: int) -> VideoIndex:
    """Returns the packets from `start` to `stop`, their frames counted from `base`."""
    part = slice(start, stop)
    ranks = index.packet_ranks[part]
    held = [(first, data) for first, data in index.extradata if first < stop]
    current = max(place for place, (first, _) in enumerate(held) if first <= start)
    return dataclasses.replace(
        index,
        extradata=tuple((max(0, first - start), data) for first, data in held[current:]),
        times=index.times[base : int(ranks.max()) + 1],
        packet_offsets=index.packet_offsets[part],
        packet_extents=index.packet_extents[part],
        packet_skips=index.packet_skips[part],
        packet_sizes=index.packet_sizes[part],
        packet_ranks=np.where(ranks >= 0, ranks - base, ranks + base),
        packet_flags=index.packet_flags[part],
    )
