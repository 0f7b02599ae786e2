"""Cells as rows: the three bases side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration

from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.costs.cells import Cell, Kind, Sum
from orchestrator.costs.measures import Measures
from orchestrator.costs.sharing import Amount


class Provided(NamedTuple):
    """What was provided of a model in a pool, and what all calls together used of it."""

    provided: Amount
    used: Amount

    @property
    def idle(self) -> Amount:
        """The rest."""
        return Amount(*(max(0.0, all_ - used) for all_, used in zip(self.provided, self.used, strict=True)))


@dataclass
class Rows:
    """Makes rows. `missing` gathers what could not be told: pools without a price, and models by what lacks."""

    measures: Measures
    provided: Mapping[tuple[str, str], Provided]
    has_prices: bool
    unpriced: set[str] = field(default_factory=set)
    never_alone: set[str] = field(default_factory=set)
    not_provided: set[str] = field(default_factory=set)

    def row(self, cells: Iterable[tuple[Kind, Cell]]) -> pb.CostRow:
        """Returns a row without its names."""
        row = pb.CostRow()
        attributed, allocated, idle, wasted, isolated = Sum(), Sum(), Sum(), Sum(), Sum()
        seconds = isolated_seconds = 0.0
        is_isolated = is_allocated = True
        for kind, cell in cells:
            _count(row, cell)
            seconds += cell.seconds
            attributed.add(cell.attributed.amount)
            if kind.outcome != "ok":
                row.wasted_call_count += cell.calls
                wasted.add(cell.attributed.amount)
            if cell.attributed.unpriced and self.has_prices:
                self.unpriced.add(kind.pool)
            if cell.calls:
                alone = self.measures.alone(kind.role, kind.model, kind.pool)
                if alone is None:
                    is_isolated = False
                    self.never_alone.add(f"{kind.model} as {kind.role} in {kind.pool}")
                else:
                    isolated_seconds += alone.seconds * cell.calls
                    isolated.add(Amount(cell.gpus, cell.gpu_prices, cell.unpriced_gpus).times(alone.seconds))
            if cell.unknown:
                is_allocated = False
                self.not_provided.add(f"{kind.model} in {kind.pool}")
            allocated.add(cell.allocated.amount)
            idle.add(self._idle(kind, cell))
        row.model_duration.CopyFrom(duration(seconds))
        row.attributed.CopyFrom(self.spending(attributed.amount))
        row.wasted.CopyFrom(self.spending(wasted.amount))
        if is_isolated:
            row.isolated_duration.CopyFrom(duration(isolated_seconds))
            row.isolated.CopyFrom(self.spending(isolated.amount))
        if is_allocated:
            row.allocated.CopyFrom(self.spending(allocated.amount))
            row.idle.CopyFrom(self.spending(idle.amount))
        return row

    def _idle(self, kind: Kind, cell: Cell) -> Amount:
        """Returns what stood idle, by the cell's share in what was used."""
        found = self.provided.get((kind.model, kind.pool))
        if found is None or not found.used.gpu_seconds:
            return Amount()
        return found.idle.times(cell.allocated.gpu_seconds / found.used.gpu_seconds)

    def spending(self, amount: Amount) -> pb.Spending:
        """Returns an amount with its cost, if every part of it has a price."""
        is_known = self.has_prices and not amount.unpriced
        return pb.Spending(gpu_seconds=amount.gpu_seconds, cost=amount.cost if is_known else None)


def _count(row: pb.CostRow, cell: Cell) -> None:
    row.call_count += cell.calls
    row.prompt_token_count += cell.prompt_tokens
    row.cached_token_count += cell.cached_tokens
    row.completion_token_count += cell.completion_tokens
    row.image_count += cell.images
    row.retry_count += cell.retries


def duration(seconds: float) -> Duration:
    """Returns seconds as a message."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
