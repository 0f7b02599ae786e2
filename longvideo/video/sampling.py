"""Which frames of a span a model is shown, and how far they lie from an even spread.

Where samples lie seconds apart, a keyframe close by shows as much as the frame itself and costs a hundredth: it needs
no other frame to be read or decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from longvideo.segments import Span, sample
from longvideo.video.index import VideoIndex

FrameSelection = Literal["exact", "keyframe"]

# A sample moves by no more than this share of the distance to its neighbours: what it stands for stays its own.
REACH: Final = 0.25


@dataclass(frozen=True)
class Samples:
    """Frames that stand for a span, ascending and without repeats.

    Attributes:
        frames: The frame indexes.
        moved: How many of them are keyframes that stand in for another frame.
        mean_move: How far those lie from the frames that they stand for on average, in seconds.
        max_move: How far at most.
    """

    frames: tuple[int, ...]
    moved: int = 0
    mean_move: float = 0.0
    max_move: float = 0.0


def choose_frames(index: VideoIndex, span: Span, count: int, selection: FrameSelection) -> Samples:
    """Returns at most `count` frames spread evenly over a span: exactly, or with keyframes where one is close."""
    exact = sample(span, count)
    return Samples(tuple(exact)) if selection == "exact" else near_keyframes(index, span, exact)


def near_keyframes(index: VideoIndex, span: Span, frames: Sequence[int]) -> Samples:
    """Moves each frame to the nearest keyframe of the span that lies within reach, and leaves the others alone.

    `frames` are ascending, without repeats and inside the span. A frame's reach is a quarter of the time to its nearer
    neighbour, so order is kept and no frame comes twice. A single frame has no neighbour and stays.
    """
    keys = index.keyframes
    keys = keys[(keys >= span.start) & (keys < span.stop)]
    if len(frames) < 2 or not len(keys):
        return Samples(tuple(frames))
    asked = np.array(frames, np.int64)
    times = index.times[asked]
    gaps = np.diff(times)
    reach = REACH * np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    after = np.searchsorted(index.times[keys], times)
    before, after = keys[np.maximum(after - 1, 0)], keys[np.minimum(after, len(keys) - 1)]
    nearer = np.abs(index.times[before] - times) <= np.abs(index.times[after] - times)
    nearest = np.where(nearer, before, after)
    distance = np.abs(index.times[nearest] - times)
    # Frames of one time cannot be told apart by it, so they stay.
    near = (distance <= reach) & (reach > 0)
    chosen = np.where(near, nearest, asked)
    moves = distance[chosen != asked]
    if not len(moves):
        return Samples(tuple(frames))
    return Samples(tuple(chosen.tolist()), len(moves), float(moves.mean()), float(moves.max()))
