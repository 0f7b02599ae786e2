"""What model calls take: GPU-seconds, and what these cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from longvideo.usage import Call

Price = Callable[[Call], float | None]
"""Tells what the GPUs of a call cost while it lasted, or None where a price is not known."""


class Spent(NamedTuple):
    """What calls have taken. `cost` is None when one was served by GPUs for which there was no price."""

    gpu_seconds: float
    cost: float | None


NOTHING: Final = Spent(0.0, 0.0)


class Standing(NamedTuple):
    """What a job has spent in all, and how many of its episodes run; 0 where nobody asked."""

    spent: Spent
    running: int


def spent(calls: Iterable[Call], price: Price) -> Spent:
    """Returns what calls took: the seconds of each times the GPUs of its replica, and what these cost meanwhile."""
    gpu_seconds, cost = NOTHING
    for call in calls:
        took = call.seconds * call.gpus
        gpu_seconds += took
        paid = price(call) if took else 0.0
        cost = None if cost is None or paid is None else cost + paid
    return Spent(gpu_seconds, cost)


def no_price(_call: Call) -> None:
    """Knows no price."""
