"""What model calls take: GPU-seconds, and what these cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from longvideo.usage import Call

Price = Callable[[str, float], float | None]
"""Tells what an hour of a GPU of a pool costs at a moment, or None where nobody has said so."""


class Spent(NamedTuple):
    """What calls have taken. `cost` is None when one was served by GPUs for which there was no price."""

    gpu_seconds: float
    cost: float | None


NOTHING: Final = Spent(0.0, 0.0)


def spent(calls: Iterable[Call], price: Price) -> Spent:
    """Returns what calls took: the seconds of each times the GPUs of its replica, at the price of its moment."""
    gpu_seconds, cost = NOTHING
    for call in calls:
        took = call.seconds * call.gpus
        gpu_seconds += took
        if took and cost is not None:
            hourly = price(call.pool, call.start_time)
            cost = None if hourly is None else cost + took / 3600 * hourly
    return Spent(gpu_seconds, cost)


def no_price(_pool: str, _moment: float) -> None:
    """Knows no price."""
