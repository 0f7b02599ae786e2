"""The tree of a video: its width, the spans of its segments, and which frames stand for a span.

Pure arithmetic over frame indexes. One nested partition serves captions, clips, evidence and display, so that a
segment means the same frames everywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from longvideo.errors import InvalidArgument

MIN_WIDTH = 2
MAX_WIDTH = 8
DEFAULT_MIN_WIDTH = 4
LEVELS = 3
LEVEL_NAMES = ("high", "medium", "low")

# A low segment lasts about this long (LongVideo-R1, arXiv 2602.20913, section on the hierarchical structure).
LOW_SEGMENT_SECONDS = 16.0


def tree_width(duration: float, min_width: int = DEFAULT_MIN_WIDTH) -> int:
    """Returns how many children every segment has: `clamp(round((duration / 16 s) ** (1/3)), min_width, 8)`.

    `duration` is in seconds. The formula and both bounds are the method's (arXiv 2602.20913); the lower bound is 4,
    or 3 for some benchmarks. Raises InvalidArgument for a `min_width` outside 2 to 8.
    """
    if not MIN_WIDTH <= min_width <= MAX_WIDTH:
        raise InvalidArgument(
            f"min_width is {min_width}; it must be from {MIN_WIDTH} to {MAX_WIDTH}", field="min_width"
        )
    cube_root = float((max(duration, 0.0) / LOW_SEGMENT_SECONDS) ** (1 / LEVELS))
    return max(min_width, min(MAX_WIDTH, round(cube_root)))


class Span(NamedTuple):
    """A half-open range of frame indexes: `start` is in, `stop` is not."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)


@dataclass(frozen=True, order=True)
class Segment:
    """A place in the tree: one, two or three 1-based integers, for a high, medium or low segment."""

    path: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.path) <= LEVELS:
            raise InvalidArgument(f"path has {len(self.path)} ids; it needs one, two or three", field="path")

    def __str__(self) -> str:
        return f"({','.join(map(str, self.path))})"

    @property
    def level(self) -> int:
        """1 for high, 2 for medium, 3 for low."""
        return len(self.path)

    @property
    def level_name(self) -> str:
        """`high`, `medium` or `low`."""
        return LEVEL_NAMES[self.level - 1]

    def contains(self, other: Segment) -> bool:
        """Tells whether `other` is this segment or lies below it."""
        return other.path[: self.level] == self.path


@dataclass(frozen=True)
class Tree:
    """A video of `frame_count` frames, cut into `width` segments at each of three levels."""

    frame_count: int
    width: int

    def span(self, segment: Segment) -> Span:
        """Returns the frames of a segment. Raises InvalidArgument for an id outside 1 to `width`.

        Children partition their parent exactly; where a parent does not divide evenly, its first children get one
        frame more. A segment of a very short video may be empty.
        """
        span = Span(0, self.frame_count)
        for number in segment.path:
            if not 1 <= number <= self.width:
                raise InvalidArgument(
                    f"segment {segment} has the id {number}; this video's ids go from 1 to {self.width}", field="path"
                )
            size, larger = divmod(len(span), self.width)
            start = span.start + (number - 1) * size + min(number - 1, larger)
            span = Span(start, start + size + (number <= larger))
        return span

    def segments(self, level: int) -> Iterator[Segment]:
        """Yields the segments of one level that hold a frame, in order."""
        for path in itertools.product(range(1, self.width + 1), repeat=level):
            segment = Segment(path)
            if len(self.span(segment)):
                yield segment

    def walk(self, level: int = LEVELS) -> Iterator[Segment]:
        """Yields every segment down to `level` that holds a frame, in tree order: (1), (1,1), (1,1,1), ..."""
        paths = sorted(segment.path for depth in range(1, level + 1) for segment in self.segments(depth))
        return map(Segment, paths)


def sample(span: Span, count: int) -> list[int]:
    """Returns at most `count` frame indexes spread evenly over a span, its first and last included, without repeats.

    The frames are those of `numpy.linspace` with its fractions cut off, as the method samples them. A span with fewer
    frames than `count` gives each of its frames once; an empty span gives none.
    """
    if not len(span):
        return []
    return [int(index) for index in np.unique(np.linspace(span.start, span.stop - 1, count).astype(np.int64))]
