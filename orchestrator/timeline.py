"""When the segments of a video start and end.

The services say it of the segments they look at. The orchestrator must also say it of those nobody has looked at, so it
keeps, with each video, the moments at which the low segments of every possible tree begin: 10 kB instead of the time
of every frame.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from longvideo.segments import LEVELS, MAX_WIDTH, MIN_WIDTH, Segment, Tree
from longvideo.v1 import types_pb2


def pack(times: npt.NDArray[np.float64], duration: float) -> bytes:
    """Returns the timelines of a video for every width, as they are stored.

    `times` holds when each frame is shown, in seconds since the first; `duration` is in seconds.
    """
    moments = np.append(times, duration)
    starts: list[int] = []
    for width in range(MIN_WIDTH, MAX_WIDTH + 1):
        tree = Tree(len(times), width)
        starts += [tree.span(Segment(path)).start for path in itertools.product(range(1, width + 1), repeat=LEVELS)]
        starts.append(len(times))
    return moments[starts].astype("<f8").tobytes()


class Timeline:
    """When the segments of one tree start and end."""

    def __init__(self, packed: bytes, width: int) -> None:
        """Takes the timeline of one width out of what `pack` gave."""
        skipped = sum(other**LEVELS + 1 for other in range(MIN_WIDTH, width))
        self._starts = np.frombuffer(packed, "<f8", count=width**LEVELS + 1, offset=8 * skipped)
        self._width = width

    def offsets(self, segment: Segment) -> tuple[float, float]:
        """Returns where a segment starts, and the first moment after it, in seconds since the first frame."""
        size = self._width ** (LEVELS - segment.level)
        first = 0
        for number in segment.path:
            first = first * self._width + number - 1
        return float(self._starts[first * size]), float(self._starts[(first + 1) * size])

    def message(self, segment: Segment) -> types_pb2.Segment:
        """Returns a segment with its times, as it goes over the wire."""
        start, end = self.offsets(segment)
        message = types_pb2.Segment(path=segment.path)
        message.start_offset.FromNanoseconds(round(start * 1e9))
        message.end_offset.FromNanoseconds(round(end * 1e9))
        return message
