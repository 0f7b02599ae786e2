"""A day of questions: few at night, many in office hours, and bursts when somebody submits a whole file of them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

Kind = Literal["reason", "caption", "qa"]
SECONDS: dict[Kind, float] = {"reason": 2.5, "caption": 7.0, "qa": 2.7}
"""How long a call takes that waits for nothing: the method's own figures."""

DAY = 24 * 3600.0
WIDTH = 5
"""How many captions a question begins with, made at one time."""

_MEAN_ROUNDS = 10.5
_QA_SHARE = 0.36 / (_MEAN_ROUNDS - 1)
"""How many of the calls between two rounds are clip questions: 0.36 a question; the others are captions."""

# Questions an hour, by the hour of the day.
_RATES = (0, 0, 0, 0, 0, 0, 5, 60, 260, 520, 640, 600, 380, 520, 640, 620, 520, 340, 160, 80, 40, 10, 0, 0)
_BURSTS = 6
_BURST_QUESTIONS = (40, 240)


@dataclass(frozen=True)
class Question:
    """When it is asked, and the calls that it takes: those of a step are made at one time, step after step.

    A `batch` has less priority than what a person waits for.
    """

    time: float
    batch: bool
    steps: tuple[tuple[Kind, ...], ...]

    @property
    def seconds(self) -> float:
        """Returns how long it takes where nothing is ever waited for."""
        return sum(max(SECONDS[kind] for kind in step) for step in self.steps)


def day(seed: int, load: float = 1.0) -> list[Question]:
    """Returns the questions of a day, in order. `load` times the usual number of them."""
    chance = random.Random(seed)
    asked = []
    for hour, rate in enumerate(_RATES):
        asked += [(3600 * (hour + chance.random()), False) for _ in range(_poisson(chance, rate * load))]
    for _ in range(_BURSTS):
        start = 3600 * chance.triangular(7, 21, 14)
        count = round(chance.randint(*_BURST_QUESTIONS) * load)
        asked += [(start + chance.uniform(0, 5), True) for _ in range(count)]
    return [Question(at, batch, _steps(chance)) for at, batch in sorted(asked)]


def _steps(chance: random.Random) -> tuple[tuple[Kind, ...], ...]:
    # Four at least, and then as many as come: by chance, with the method's mean.
    rounds = 4 + min(26, int(chance.expovariate(1 / (_MEAN_ROUNDS - 3.5))))
    caption: Kind = "caption"
    steps: list[tuple[Kind, ...]] = [(caption,) * WIDTH]
    for _ in range(rounds - 1):
        steps += [("reason",), ("qa" if chance.random() < _QA_SHARE else "caption",)]
    return (*steps, ("reason",))


def _poisson(chance: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        product *= chance.random()
        count += 1
    return count
