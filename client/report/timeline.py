"""Where in the video something lies: the bars of a timeline, level by level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from client import words
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

# Narrower bars, in percent of the video, have no room for a number.
_LEAST_WIDTH_FOR_A_NUMBER: Final = 2.5

LANES: Final = {
    "medium": "medium captions",
    "low": "low captions",
    "clip": "clips",
}
"""What can be opened, from wide to narrow. A clip is a low segment that the qa model looked at."""


@dataclass(frozen=True)
class Bar:
    """A segment on the timeline: where it starts and how long it is in percent of the video.

    `rounds` are those that opened it, in order; none for the segments that every question starts from.
    """

    left: float
    width: float
    kind: str
    place: str
    rounds: tuple[int, ...] = ()

    @property
    def middle(self) -> float:
        """Where its middle lies, in percent of the video."""
        return self.left + self.width / 2

    @property
    def number(self) -> str:
        """The round that stands in the bar: the first, when there is room."""
        return str(self.rounds[0]) if self.rounds and self.width >= _LEAST_WIDTH_FOR_A_NUMBER else ""

    @property
    def label(self) -> str:
        """What the bar is, in words."""
        noun = "Round" if len(self.rounds) == 1 else "Rounds"
        return f"{noun} {', '.join(map(str, self.rounds))}: {self.kind} {self.place}"


@dataclass(frozen=True)
class Lane:
    """What was opened in one way, in the order of its first opening."""

    kind: str
    name: str
    bars: Sequence[Bar]


def bar(segment: types_pb2.Segment, length: float, kind: str, rounds: tuple[int, ...] = ()) -> Bar:
    """Returns where a segment lies in a video of `length` seconds."""
    start, end = words.seconds(segment.start_offset), words.seconds(segment.end_offset)
    scale = 100 / length if length else 0.0
    left = min(100.0, max(0.0, start * scale))
    width = max(0.0, min(100.0 - left, (end - start) * scale))
    return Bar(left, width, kind, words.place(segment), rounds)


def lanes(rounds: Iterable[pb.Round], length: float) -> list[Lane]:
    """Returns what the rounds opened in a video of `length` seconds, one bar for each segment and way."""
    opened: dict[str, dict[tuple[int, ...], tuple[types_pb2.Segment, list[int]]]] = {kind: {} for kind in LANES}
    for step in rounds:
        segment = target(step.action)
        if segment is not None and (of_kind := opened.get(kind_of(step.action))) is not None:
            of_kind.setdefault(tuple(segment.path), (segment, []))[1].append(step.number)
    return [
        Lane(kind, name, [bar(segment, length, kind, tuple(numbers)) for segment, numbers in opened[kind].values()])
        for kind, name in LANES.items()
    ]


def target(action: pb.Action) -> types_pb2.Segment | None:
    """Returns the segment that an action opens, None for an answer."""
    kind = action.WhichOneof("action")
    if kind == "get_caption":
        return action.get_caption.segment
    return action.video_qa.segment if kind == "video_qa" else None


def kind_of(action: pb.Action) -> str:
    """Returns `medium` or `low` for a caption, `clip` for a look of the qa model, and `answer`."""
    if action.WhichOneof("action") == "get_caption":
        return words.level(action.get_caption.segment)
    return "clip" if action.WhichOneof("action") == "video_qa" else "answer"


def ticks(length: float) -> list[str]:
    """Returns the five moments that a timeline names: its start, its end and the quarters."""
    return [words.clock(length * quarter / 4) for quarter in range(5)]
