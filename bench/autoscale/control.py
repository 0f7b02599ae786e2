"""How Kubernetes and KEDA decide how many replicas there are, as their documentation says.

KEDA looks at its triggers from time to time and decides between none and some. Between one and the most, a
HorizontalPodAutoscaler decides every 15 s: from a recommendation for each metric, through a tolerance, a window in
which the most cautious recommendation counts, and policies that bound how fast it goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

SYNC_SECONDS = 15.0
"""How often a HorizontalPodAutoscaler decides."""

TOLERANCE = 0.1
"""How far from its target a metric may be before anything is done."""


@dataclass(frozen=True)
class Policy:
    """So many pods, or so many percent of them, may come or go within so many seconds."""

    kind: Literal["Pods", "Percent"]
    value: int
    seconds: float


@dataclass(frozen=True)
class Rules:
    """How fast it may go in one direction: for how long a need must last, and the policies; the widest one counts."""

    window: float
    policies: tuple[Policy, ...]


UP = Rules(0.0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DOWN = Rules(300.0, (Policy("Percent", 100, 15),))
"""What holds where a HorizontalPodAutoscaler says nothing."""


def by_average(total: float, target: float, current: int) -> int:
    """Returns the recommendation for a metric of all pods together, of which each should have `target`."""
    if abs(total / (target * current) - 1) <= TOLERANCE:
        return current
    return math.ceil(total / target)


def by_utilization(used: float, target: float, ready: int, current: int) -> int:
    """Returns the recommendation for the mean share of a resource that the ready pods use."""
    if ready == 0 or abs(used / target - 1) <= TOLERANCE:
        return current
    return math.ceil(ready * used / target)


@dataclass
class Horizontal:
    """A HorizontalPodAutoscaler: what it remembers between two decisions."""

    least: int
    most: int
    up: Rules = UP
    down: Rules = DOWN
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now: float, current: int, recommendations: Sequence[int | None]) -> int:
        """Returns how many replicas there are from now on. None is a metric that nobody knows."""
        known = [each for each in recommendations if each is not None]
        if current == 0 or not known:
            return current
        wanted = max(known)
        if wanted < current and len(known) < len(recommendations):
            return current  # what is not known might want more
        after = self._bounded(now, current, self._stabilized(now, current, wanted))
        if after != current:
            self._changes.append((now, after - current))
        return after

    def _stabilized(self, now: float, current: int, wanted: int) -> int:
        longest = max(self.up.window, self.down.window)
        self._recommended = [each for each in self._recommended if each[0] > now - longest] + [(now, wanted)]
        lowest = min([wanted, *(count for at, count in self._recommended if at > now - self.up.window)])
        highest = max([wanted, *(count for at, count in self._recommended if at > now - self.down.window)])
        return min(max(current, lowest), highest)

    def _bounded(self, now: float, current: int, wanted: int) -> int:
        rules = self.up if wanted > current else self.down
        longest = max(policy.seconds for policy in (*self.up.policies, *self.down.policies))
        self._changes = [each for each in self._changes if each[0] > now - longest]
        limits = [self._limit(now, current, policy, grows=wanted > current) for policy in rules.policies]
        if wanted > current:
            return max(min(wanted, max(limits), self.most), min(current, self.most))
        return min(max(wanted, min(limits), self.least), max(current, self.least))

    def _limit(self, now: float, current: int, policy: Policy, *, grows: bool) -> int:
        before = current - sum(change for at, change in self._changes if at > now - policy.seconds)
        if policy.kind == "Pods":
            return before + policy.value if grows else before - policy.value
        factor = 1 + policy.value / 100 if grows else 1 - policy.value / 100
        return math.ceil(before * factor) if grows else math.floor(before * factor)


@dataclass
class Activation:
    """KEDA's own part: from none to some as soon as a trigger is active, and back when none was for long enough."""

    least: int
    cooldown: float
    _active_time: float = -math.inf

    def decide(self, now: float, current: int, active: bool | None) -> int:
        """Returns how many replicas there are from now on. None: no trigger is active, and one did not answer."""
        if active:
            self._active_time = now
            return current or max(1, self.least)
        if active is None:
            return current
        if current < self.least:
            return self.least
        if self.least == 0 and current and now > self._active_time + self.cooldown:
            return 0
        return current
