"""Small plots: where their bars stand. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from client import words

# No more columns than a phone shows.
_MAX_COLUMNS = 15


@dataclass(frozen=True)
class Column:
    """One column of a histogram: what it stands for, how many, and how high in percent of the highest."""

    label: str
    count: int
    height: float


@dataclass(frozen=True)
class Row:
    """One row of a bar chart: what it stands for, its value in words, and how long in percent of the longest."""

    label: str
    value: str
    width: float


def rounds(counts: Sequence[int]) -> list[Column]:
    """Returns how many questions took how many rounds; several numbers share a column where there are many."""
    if not counts:
        return []
    least, most = min(counts), max(counts)
    step = math.ceil((most - least + 1) / _MAX_COLUMNS)
    bins = [(first, min(most, first + step - 1)) for first in range(least, most + 1, step)]
    return _columns(
        (f"{first}" if first == last else f"{first}–{last}", sum(first <= count <= last for count in counts))
        for first, last in bins
    )


def shares(fractions: Sequence[float]) -> list[Column]:
    """Returns for how many questions which share of the video was opened, in tenths named by where they start."""
    tenths = [min(9, int(fraction * 10)) for fraction in fractions]
    return _columns((f"{10 * tenth}+", tenths.count(tenth)) for tenth in range(10))


def rows(values: Iterable[tuple[str, float, str]]) -> list[Row]:
    """Returns a row for each (label, value, unit)."""
    taken = list(values)
    longest = max((value for _, value, _ in taken), default=0.0)
    return [
        Row(label, words.plural(round(value), unit) if unit else f"{value:,.1f} s", _percent(value, longest))
        for label, value, unit in taken
    ]


def ticks(length: float) -> list[str]:
    """Returns the five moments that a timeline names: its start, its end and the quarters."""
    return [words.clock(length * quarter / 4) for quarter in range(5)]


def _columns(counted: Iterable[tuple[str, int]]) -> list[Column]:
    taken = list(counted)
    highest = max((count for _, count in taken), default=0)
    return [Column(label, count, _percent(count, highest)) for label, count in taken]


def _percent(value: float, most: float) -> float:
    return 100 * value / most if most else 0.0
