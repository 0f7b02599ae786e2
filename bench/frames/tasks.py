"""What is measured: which frames, how large, out of the hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.frames.videos import FPS

# An hour's tree is six segments wide: they last 600, 100 and 16.7 s.
_HIGH, _MEDIUM, _LOW = 600 * FPS, 100 * FPS, 500


@dataclass(frozen=True)
class Task:
    """Frames for one request to a model.

    Attributes:
        name: What the table calls it.
        start: The first frame of the span.
        length: How many frames the span has.
        count: How many of them are wanted, spread evenly.
        side: The longest side of the pictures in pixels.
    """

    name: str
    start: int
    length: int
    count: int
    side: int

    def frames(self) -> list[int]:
        """Returns the frames that an even spread gives."""
        return [
            int(n) for n in np.unique(np.linspace(self.start, self.start + self.length - 1, self.count).astype(int))
        ]


_CLIP = Task("clip", 2 * _HIGH + _MEDIUM + 3 * _LOW, _LOW, 16, 1024)
# Ten questions, as an agent asks them: mostly about new clips, three times about one that it has seen.
_QUESTIONS: Final = (7, 100, 33, 7, 150, 34, 100, 201, 88, 33)

TASKS: Final[dict[str, tuple[Task, ...]]] = {
    "clip": (_CLIP,),
    "low": (Task("low", 2 * _HIGH + _MEDIUM + 3 * _LOW, _LOW, 32, 512),),
    "medium": (Task("medium", 2 * _HIGH + _MEDIUM, _MEDIUM, 64, 362),),
    "high": (Task("high", 2 * _HIGH, _HIGH, 128, 256),),
    # The span that a high segment of an eight-hour video has.
    "high8h": (Task("high8h", 0, 6 * _HIGH, 128, 256),),
    "ten": tuple(Task("ten", place * _LOW, _LOW, 16, 1024) for place in _QUESTIONS),
}
