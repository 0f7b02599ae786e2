"""Small plots: where their bars stand. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from client import words

# No more columns than a phone shows.
_MAX_COLUMNS: Final = 15
# Nor more when each is named by two numbers.
_MAX_RANGES: Final = 8
# In how many pieces the video is cut to tell how often each was opened.
_PIECES: Final = 60


@dataclass(frozen=True)
class Part:
    """A part of a column or of a row: of what kind, how many, and from where to how far in percent."""

    kind: str
    count: int
    start: float
    length: float


@dataclass(frozen=True)
class Column:
    """One column of a histogram: what it stands for, how many, and its parts from the base up."""

    label: str
    count: int
    parts: Sequence[Part]

    @property
    def height(self) -> float:
        """How high it is, in percent of the highest."""
        return sum(part.length for part in self.parts)


@dataclass(frozen=True)
class Row:
    """One row of a bar chart: what it stands for, its value in words, and how long in percent of the longest."""

    label: str
    value: str
    width: float


def share_of_each(counted: Iterable[tuple[str, int]]) -> list[Part]:
    """Returns one bar of all parts, (kind, count), side by side; what there is none of is left out."""
    taken = [(kind, count) for kind, count in counted if count]
    return _stacked(taken, sum(count for _, count in taken))


def rounds(questions: Sequence[tuple[int, str]]) -> list[Column]:
    """Returns how many questions, (rounds, kind), took how many rounds; numbers share a column where there are many."""
    if not questions:
        return []
    least, most = min(questions)[0], max(questions)[0]
    step = 1 if most - least < _MAX_COLUMNS else math.ceil((most - least + 1) / _MAX_RANGES)
    bins = [(first, min(most, first + step - 1)) for first in range(least, most + 1, step)]
    return _columns(
        (
            str(first) if first == last else f"{first}–{last}",
            [kind for count, kind in questions if first <= count <= last],
        )
        for first, last in bins
    )


def amounts(values: Sequence[tuple[float, str]], write: Callable[[float], str]) -> list[Column]:
    """Returns how many questions, (amount, kind), took how much, in steps that a person can read."""
    if not values:
        return []
    step = _readable(max(value for value, _ in values) / 8)
    count = max(1, math.floor(max(value for value, _ in values) / step) + 1) if step else 1
    places = [(min(count - 1, int(value / step)) if step else 0, kind) for value, kind in values]
    return _columns(
        (write(number * step), [kind for place, kind in places if place == number]) for number in range(count)
    )


def opened(spans: Iterable[Sequence[tuple[float, float]]]) -> list[float]:
    """Returns how many questions opened each piece of the video, in percent of the most.

    A question gives its spans, (left, width), in percent of the video.
    """
    counts = [0] * _PIECES
    for of_one in spans:
        touched = {
            piece
            for left, width in of_one
            for piece in range(_PIECES)
            if left < (piece + 0.5) * 100 / _PIECES <= left + width
        }
        for piece in touched:
            counts[piece] += 1
    most = max(counts)
    return [_percent(count, most) for count in counts] if most else []


def rows(values: Iterable[tuple[str, float, str]]) -> list[Row]:
    """Returns a row for each (label, value, unit)."""
    taken = list(values)
    longest = max((value for _, value, _ in taken), default=0.0)
    return [
        Row(label, words.plural(round(value), unit) if unit else f"{value:,.1f} s", _percent(value, longest))
        for label, value, unit in taken
    ]


def _readable(value: float) -> float:
    """Returns the next 1, 2 or 5 with zeros from a value up."""
    if value <= 0:
        return 0.0
    base: float = 10.0 ** math.floor(math.log10(value))
    return next(base * factor for factor in (1, 2, 5, 10) if base * factor >= value)


_ORDER: Final = ("right", "good", "wrong", "none")


def _columns(counted: Iterable[tuple[str, Sequence[str]]]) -> list[Column]:
    taken = list(counted)
    highest = max((len(kinds) for _, kinds in taken), default=0)
    return [
        Column(label, len(kinds), _stacked([(kind, kinds.count(kind)) for kind in _ORDER], highest))
        for label, kinds in taken
    ]


def _stacked(counted: Iterable[tuple[str, int]], whole: int) -> list[Part]:
    parts, start = [], 0.0
    for kind, count in counted:
        if count:
            parts.append(Part(kind, count, start, _percent(count, whole)))
            start += _percent(count, whole)
    return parts


def _percent(value: float, most: float) -> float:
    return 100 * value / most if most else 0.0
