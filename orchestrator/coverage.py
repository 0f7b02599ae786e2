"""What an episode looked at: pure functions of its rounds and its tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from longvideo.segments import LEVELS, Segment, Span, Tree


class Look(NamedTuple):
    """A finished round that opened a segment: by reading its caption, or by asking the qa model (`inspected`)."""

    number: int
    segment: Segment
    inspected: bool


@dataclass
class Evidence:
    """A segment that was opened, in which round first, and how."""

    segment: Segment
    round: int
    captioned: bool = False
    inspected: bool = False


class Coverage(NamedTuple):
    """Shares of the video, 0 to 1: opened at all, looked at at the lowest level, looked at by the qa model."""

    opened: float
    low: float
    inspected: float


def evidence(looks: Iterable[Look]) -> list[Evidence]:
    """Returns every segment that was opened, once, in the order of its first opening."""
    found: dict[Segment, Evidence] = {}
    for look in looks:
        entry = found.setdefault(look.segment, Evidence(look.segment, look.number))
        entry.captioned |= not look.inspected
        entry.inspected |= look.inspected
    return list(found.values())


def coverage(looks: Sequence[Look], tree: Tree) -> Coverage:
    """Returns how much of the video was looked at. Segments that overlap count once."""
    return Coverage(
        _share((look.segment for look in looks), tree),
        _share((look.segment for look in looks if look.segment.level == LEVELS), tree),
        _share((look.segment for look in looks if look.inspected), tree),
    )


def _share(segments: Iterable[Segment], tree: Tree) -> float:
    covered = reached = 0
    for start, stop in sorted({tree.span(segment) for segment in segments}):
        covered += len(Span(max(start, reached), stop))
        reached = max(reached, stop)
    return covered / tree.frame_count if tree.frame_count else 0.0
