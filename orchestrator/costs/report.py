"""A report of cost: one sweep over the ledger, and what became of the questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from longvideo.prices import PriceBook
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator import messages
from orchestrator.costs.cells import OF_QUESTIONS, Cell, Cells, Ended, Kind, Names, Sum
from orchestrator.costs.measures import Measures
from orchestrator.costs.notes import Notes, listed
from orchestrator.costs.rows import Provided, Rows, duration
from orchestrator.costs.savings import savings
from orchestrator.costs.sharing import Amount, Capacities, Entry, Sweep, provided, steps
from orchestrator.store.costs import Reading, Scope

DAY_SECONDS: Final = 86_400.0
"""How much of the time before the end is looked at at least, to learn what calls take."""

# How many calls are looked at between two questions whether anybody still waits.
_CHECK = 20_000


class Asked(NamedTuple):
    """What a report is about: a period, whose calls, and what the rows are."""

    since: float
    until: float
    scope: Scope
    dimensions: tuple[str, ...]


class Unknown(NamedTuple):
    """Why nobody knows what was provided: a stable reason, and words for a person."""

    reason: str
    message: str


@dataclass
class _Tally:
    """How questions ended."""

    questions: int = 0
    answered: int = 0
    judged: int = 0
    correct: int = 0

    def add(self, ended: Ended) -> None:
        self.questions += 1
        self.answered += ended.is_answered
        self.judged += ended.is_correct is not None
        self.correct += bool(ended.is_correct)

    def tell(self, row: pb.CostRow) -> None:
        row.question_count, row.answered_count = self.questions, self.answered
        row.judged_count, row.correct_count = self.judged, self.correct


class Report:
    """Makes a report. `check` is called now and then, and raises when nobody waits for it any more."""

    def __init__(
        self, asked: Asked, book: PriceBook | None, replicas: Capacities | Unknown, check: Callable[[], object]
    ) -> None:
        self._asked = asked
        self._book = book
        self._unknown = replicas if isinstance(replicas, Unknown) else None
        self._capacities: Capacities = {} if isinstance(replicas, Unknown) else replicas
        self._notes = Notes()
        self._check = check
        self._cells = Cells(asked.dimensions)
        self._measures = Measures(book)
        self._used: dict[tuple[str, str], Sum] = {}

    def read(self, reading: Reading) -> pb.CostReport:
        """Returns the report. Raises InvalidArgument when it would have too many rows, and what `check` raises."""
        asked = self._asked
        sweep = Sweep(asked.since, asked.until, self._book, self._capacities)
        # Calls that were sent earlier had their share of what is looked at.
        first = min(asked.since - reading.longest(), asked.until - DAY_SECONDS)
        self._add_calls(sweep, reading.calls(first, asked.until))
        dark = sweep.dark()
        rows = Rows(self._measures, self._provided(), self._book is not None)
        tallies, total = self._tallies(reading)
        everything = [each for kinds in self._cells.groups.values() for each in kinds.items()]
        report = pb.CostReport(currency=self._book.currency if self._book is not None else "")
        report.start_time.CopyFrom(messages.timestamp(asked.since))
        report.end_time.CopyFrom(messages.timestamp(asked.until))
        report.total.CopyFrom(rows.row(everything))
        total.tell(report.total)
        if asked.dimensions:
            report.rows.extend(self._rows(rows, tallies))
        report.provided.extend(self._bill(rows))
        report.alone_times.extend(_alone_times(self._measures, everything))
        report.wasted.extend(_wasted(rows, everything))
        seen = reading.seen(asked.scope, asked.since, asked.until)
        report.savings.CopyFrom(savings(rows, everything, seen, self._notes))
        self._explain(rows, dark, has_gpus=any(cell.gpus for _, cell in everything))
        report.notes.extend(self._notes.messages())
        return report

    def _add_calls(self, sweep: Sweep, calls: Iterator[Entry]) -> None:
        scope = self._asked.scope
        for number, part in enumerate(sweep.parts(calls)):
            self._measures.add(part)
            if part.allocated is not None:
                key = (part.call.model, part.call.pool)
                if key not in self._used:
                    self._used[key] = Sum()
                self._used[key].add(part.allocated)
            if (part.is_sent or part.attributed.gpu_seconds) and scope.has(part.call):
                self._cells.add(part)
            if not number % _CHECK:
                self._check()

    def _provided(self) -> Mapping[tuple[str, str], Provided]:
        asked, nothing = self._asked, Sum()
        return {
            key: Provided(
                provided(steps(self._book, key[1], found), asked.since, asked.until),
                self._used.get(key, nothing).amount,
            )
            for key, found in self._capacities.items()
        }

    def _tallies(self, reading: Reading) -> tuple[dict[Names, _Tally], _Tally]:
        """Returns how questions ended, by the dimensions that divide them, and all together."""
        asked = self._asked
        names = [OF_QUESTIONS[name] for name in asked.dimensions if name in OF_QUESTIONS]
        found, total = dict[Names, _Tally](), _Tally()
        for ended in reading.ended(asked.scope, asked.since, asked.until):
            total.add(ended)
            key = tuple([name(ended) for name in names])
            if key not in found:
                found[key] = _Tally()
                if len(names) == len(asked.dimensions):
                    self._cells.group(key)  # a question may have ended on a day without calls
            found[key].add(ended)
        return found, total

    def _rows(self, rows: Rows, tallies: Mapping[Names, _Tally]) -> Sequence[pb.CostRow]:
        dimensions, found = self._asked.dimensions, []
        for names, kinds in self._cells.groups.items():
            row = rows.row(kinds.items())
            named = dict(zip(dimensions, names, strict=True))
            _name(row, named)
            if tally := tallies.get(tuple(value for name, value in named.items() if name in OF_QUESTIONS)):
                tally.tell(row)
            found.append((row, names))

        def place(one: tuple[pb.CostRow, Names]) -> Any:
            row, names = one
            return row.day, -row.attributed.cost, -row.attributed.gpu_seconds, -row.model_duration.ToSeconds(), names

        return [row for row, _ in sorted(found, key=place)]

    def _bill(self, rows: Rows) -> Iterator[pb.ProvidedCost]:
        if self._asked.scope != Scope(None):
            return
        for (model, pool), found in sorted(rows.provided.items()):
            amounts = {
                name: rows.spending(amount)
                for name, amount in (("provided", found.provided), ("used", found.used), ("idle", found.idle))
            }
            yield pb.ProvidedCost(model=model, pool=pool, **amounts)

    def _explain(self, rows: Rows, dark: Mapping[tuple[str, str], float], *, has_gpus: bool) -> None:
        if self._book is None and has_gpus:
            self._notes.add(
                "NO_PRICE_BOOK",
                "The server has no price book, so it knows GPU-seconds but no cost; the setting price_book names one.",
            )
        if rows.unpriced:
            self._notes.add(
                "NO_PRICE",
                f"The price book has no price of {listed(rows.unpriced)} for some of this time, so costs with that in "
                "them are not known; add one with an earlier valid_from.",
            )
        if rows.never_alone:
            self._notes.add(
                "NEVER_ALONE",
                f"No call of {listed(rows.never_alone)} was alone at its server, so the isolated basis is not known; "
                "ask for a longer time, or measure it and put it into the price book as [[alone]].",
            )
        if self._unknown is not None and has_gpus:
            self._notes.add(*self._unknown)
        if self._unknown is None and rows.not_provided:
            self._notes.add(
                "NOT_PROVIDED",
                f"Prometheus knows no replicas of {listed(rows.not_provided)} in this time, so the allocated basis is "
                "not known where they were used.",
            )
        if dark:
            models = listed(f"{model} in {pool}" for model, pool in dark)
            self._notes.add(
                "REPLICAS_MISSING",
                f"For {sum(dark.values()):,.0f} s there were calls of {models}, but no replica that Prometheus knew; "
                "that time is in no allocated cost.",
            )


def _name(row: pb.CostRow, named: Mapping[str, Any]) -> None:
    for name, value in named.items():
        setattr(row, name, types_pb2.Role.Value(f"ROLE_{value.upper()}") if name == "role" else value)


def _alone_times(measures: Measures, cells: Sequence[tuple[Kind, Cell]]) -> Iterator[pb.AloneTime]:
    for role, model, pool in sorted({kind[:3] for kind, cell in cells if cell.calls}):
        if alone := measures.alone(role, model, pool):
            yield pb.AloneTime(
                role=types_pb2.Role.Value(f"ROLE_{role.upper()}"),
                model=model,
                pool=pool,
                mean_duration=duration(alone.seconds),
                call_count=alone.calls,
            )


def _wasted(rows: Rows, cells: Sequence[tuple[Kind, Cell]]) -> Iterator[pb.WastedCost]:
    for outcome in sorted({kind.outcome for kind, _ in cells} - {"ok"}):
        mine = [cell for kind, cell in cells if kind.outcome == outcome]
        spent = Sum()
        for cell in mine:
            spent.add(cell.attributed.amount)
        yield pb.WastedCost(
            outcome=types_pb2.ModelCall.Outcome.Value(f"OUTCOME_{outcome.upper()}"),
            call_count=sum(cell.calls for cell in mine),
            spending=rows.spending(spent.amount if spent.gpu_seconds else Amount()),
        )
