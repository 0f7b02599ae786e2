"""What something cost, in the best unit that is known: money, else GPU-seconds, else the seconds in models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from client import words
from longvideo.v1 import orchestrator_pb2 as pb

Kind = Literal["money", "gpu", "time"]


@dataclass(frozen=True)
class Unit:
    """What the costs of a job are told in: all of them in the same. `currency` is that of money."""

    kind: Kind = "time"
    currency: str = ""

    @property
    def name(self) -> str:
        """What stands over a number."""
        return {"money": "Cost", "gpu": "GPU time", "time": "Model time"}[self.kind]

    @property
    def scale(self) -> str:
        """What numbers without their unit are in."""
        return {"money": self.currency, "gpu": "GPU-seconds", "time": "seconds"}[self.kind]

    def value(self, row: pb.CostRow) -> float | None:
        """Returns what a row cost, None when that is not known. GPUs are shared by the attributed basis."""
        if self.kind == "money":
            return row.attributed.cost if row.attributed.HasField("cost") else None
        return row.attributed.gpu_seconds if self.kind == "gpu" else words.seconds(row.model_duration)

    def write(self, value: float | None) -> str:
        """Returns a cost for a person."""
        if value is None:
            return "–"
        if self.kind == "money":
            return f"{self.currency} {amount(value)}"
        return f"{amount(value)} GPU-s" if self.kind == "gpu" else lasting(value)

    def of(self, spending: pb.Spending) -> str:
        """Returns GPU time and its cost, where there are some."""
        parts = [f"{self.currency} {amount(spending.cost)}"] if self.currency and spending.HasField("cost") else []
        return " · ".join([*parts, f"{amount(spending.gpu_seconds)} GPU-s"])


def unit(report: pb.CostReport) -> Unit:
    """Returns what the costs of a job are told in. Where one call has no price there is no sum of money to tell."""
    spent = report.total.attributed
    if not spent.gpu_seconds:
        return Unit()
    return Unit("money", report.currency) if report.currency and spent.HasField("cost") else Unit("gpu")


def amount(value: float) -> str:
    """Returns a number with about three digits that count: `1,240`, `31.5`, `0.0042`."""
    if not value:
        return "0"
    digits = max(0, min(8, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{digits}f}"


def lasting(seconds: float) -> str:
    """Returns how long something lasted: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def mean(values: Iterable[float | None]) -> float | None:
    """Returns the mean of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
