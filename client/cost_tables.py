"""A report of cost as a table for a person, and as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from client import words
from client.screen import Screen
from longvideo.v1 import orchestrator_pb2 as pb

BASES: Final = ("isolated", "attributed", "allocated", "idle", "wasted")
"""The fields of a row that are GPU time and cost."""


def show(screen: Screen, report: pb.CostReport, names: Sequence[str]) -> None:
    """Writes a report: the rows, their sum, and what a person should know about them."""
    total = report.total
    period = (
        f"{words.local_time(report.start_time)} – {words.local_time(report.end_time)}"
        if total.call_count
        else "nothing was called"
    )
    screen.line("Costs", " · ".join(part for part in (period, _unit(report)) if part), "bold")
    if not total.call_count and not report.rows:
        _notes(screen, report)
        return
    screen.plain()
    _table(screen, report, names)
    screen.plain()
    _questions(screen, report)
    _provided(screen, report)
    _wasted(screen, report)
    _savings(screen, report)
    _alone(screen, report)
    _notes(screen, report)


def _unit(report: pb.CostReport) -> str:
    if not _has_gpus(report):
        return "no GPU was used"
    return f"in {report.currency}" if report.currency else "in GPU-seconds"


def _has_gpus(report: pb.CostReport) -> bool:
    return any(getattr(report.total, basis).gpu_seconds for basis in BASES) or bool(report.provided)


@dataclass(frozen=True)
class _Money:
    """Writes amounts with as many digits as the largest needs."""

    has_prices: bool
    digits: int

    def __call__(self, spending: pb.Spending, divisor: int = 1) -> str:
        if self.has_prices:
            return f"{spending.cost / divisor:,.{self.digits}f}" if spending.HasField("cost") else "?"
        return f"{spending.gpu_seconds / divisor:,.{self.digits}f}"


def _money(report: pb.CostReport) -> _Money:
    has_prices = bool(report.currency)
    every = [getattr(report.total, basis) for basis in BASES]
    largest = max(each.cost if has_prices else each.gpu_seconds for each in every)
    digits = 1 if not has_prices else 2 if largest <= 0 else min(8, max(2, 3 - math.floor(math.log10(largest))))
    return _Money(has_prices, digits)


_Column = tuple[str, Callable[[pb.CostRow], str]]


def _columns(report: pb.CostReport) -> list[_Column]:
    money, total = _money(report), report.total
    rows = [*report.rows, total]
    found: list[_Column] = [
        ("calls", lambda row: f"{row.call_count:,}"),
        ("model s", lambda row: f"{words.seconds(row.model_duration):,.1f}"),
    ]
    if any(row.HasField("isolated_duration") for row in rows):
        found.append(
            ("alone s", lambda row: f"{words.seconds(row.isolated_duration):,.1f}" if _is_isolated(row) else "?")
        )
    if _has_gpus(report):
        if report.currency:
            found.append(("GPU-s", lambda row: f"{row.attributed.gpu_seconds:,.1f}"))
        found += [(basis, _spent(basis, money)) for basis in BASES if any(row.HasField(_field(basis)) for row in rows)]
    if total.question_count:
        found.append(("questions", lambda row: f"{row.question_count:,}"))
        if _has_gpus(report):
            found.append(("per question", lambda row: _each(money, row, row.question_count)))
            if total.judged_count:
                found.append(("per right answer", lambda row: _each(money, row, row.correct_count)))
    return found


def _is_isolated(row: pb.CostRow) -> bool:
    return row.HasField("isolated_duration")


def _field(basis: str) -> Any:
    return basis


def _spent(basis: str, money: _Money) -> Callable[[pb.CostRow], str]:
    return lambda row: money(getattr(row, basis)) if row.HasField(_field(basis)) else "?"


def _each(money: _Money, row: pb.CostRow, count: int) -> str:
    return money(row.attributed, count) if count else "–"


# What a narrow terminal does without, first things first; `--json` and `--csv` have it all.
_DISPENSABLE: Final = ("alone s", "GPU-s", "model s", "questions", "wasted", "idle", "isolated", "calls")


def _table(screen: Screen, report: pb.CostReport, names: Sequence[str]) -> None:
    head = ["total", *("" for _ in names[1:])] if names else []
    rows = [([_shown(row, name) for name in names], row) for row in report.rows]
    rows += [(head, report.total)] if len(rows) != 1 else []
    columns = [(name, [name, *(write(row) for _, row in rows)]) for name, write in _columns(report)]
    fixed = [[name, *(said[number] for said, _ in rows)] for number, name in enumerate(names)]
    for name in _DISPENSABLE:
        if _width(fixed, [cells for _, cells in columns]) > screen.width:
            columns = [column for column in columns if column[0] != name]
    numbers = [name for name, _ in columns]
    cells = [[*said, *(column[place] for _, column in columns)] for place, (said, _) in enumerate(rows, 1)]
    screen.table([*names, *numbers], cells, right=numbers)


def _width(*groups: Sequence[Sequence[str]]) -> int:
    return sum(2 + max(map(len, cells)) for group in groups for cells in group)


def value(row: pb.CostRow, name: str) -> str:
    """Returns what a row is called in a dimension."""
    return words.role(row.role) if name == "role" else str(getattr(row, name))


def _shown(row: pb.CostRow, name: str) -> str:
    said = value(row, name)
    if name == "video":
        said = said.removeprefix("videos/")[:12]
    return words.one_line(said, 60) or "–"


def _questions(screen: Screen, report: pb.CostReport) -> None:
    total = report.total
    if total.question_count:
        judged = f", {total.correct_count:,} right of {total.judged_count:,} judged" if total.judged_count else ""
        screen.line("Questions", f"{total.question_count:,} ended, {total.answered_count:,} answered{judged}")


def _provided(screen: Screen, report: pb.CostReport) -> None:
    money, label = _money(report), "Provided"
    for each in report.provided:
        all_of_it = each.provided.gpu_seconds
        used = words.share(each.used.gpu_seconds / all_of_it) if all_of_it else "nothing"
        screen.line(
            label,
            f"{words.one_line(each.model, 40)} in {words.one_line(each.pool, 20)}: {money(each.provided)} = "
            f"{money(each.used)} used + {money(each.idle)} idle ({used} used)",
        )
        label = ""


_ENDS: Final = {"error": "failed", "invalid": "not to be used", "timeout": "too slow", "cancelled": "cancelled"}


def _wasted(screen: Screen, report: pb.CostReport) -> None:
    money = _money(report)
    parts = [
        f"{_ENDS.get(words.outcome(each.outcome), words.outcome(each.outcome))}: "
        f"{words.plural(each.call_count, 'call')}" + (f" ({money(each.spending)})" if each.spending.gpu_seconds else "")
        for each in report.wasted
    ]
    if report.total.retry_count:
        parts.append(f"made again: {words.plural(report.total.retry_count, 'call')}")
    if parts:
        screen.line("Wasted", ", ".join(parts))


def _savings(screen: Screen, report: pb.CostReport) -> None:
    saved, total, label = report.savings, report.total, "Saved"
    money = _money(report)

    def line(what: str, cost: pb.SavedCost) -> None:
        nonlocal label
        parts = [what]
        if cost.HasField("model_duration"):
            parts.append(f"about {words.seconds(cost.model_duration):,.1f} s in models")
        if cost.spending.gpu_seconds:
            parts.append(f"{money(cost.spending)}")
        screen.line(label, " · ".join(parts))
        label = ""

    if saved.caption_cache.count:
        line(f"{words.plural(saved.caption_cache.count, 'caption')} that existed", saved.caption_cache)
    if saved.prefix_cache.count:
        part = words.share(saved.prefix_cache.count / max(1, total.prompt_token_count))
        line(f"{saved.prefix_cache.count:,} prompt tokens ({part}) from the prefix cache", saved.prefix_cache)
    if saved.early_halting.count > 0:
        line(f"{words.plural(saved.early_halting.count, 'low segment')} not looked at", saved.early_halting)
    elif saved.early_halting.count < 0:
        line(
            f"nothing by halting early: {words.plural(-saved.early_halting.count, 'caption')} more than low segments",
            saved.early_halting,
        )


def _alone(screen: Screen, report: pb.CostReport) -> None:
    label = "Alone"
    for each in report.alone_times:
        source = f"mean of {words.plural(each.call_count, 'call')}" if each.call_count else "as the price book says"
        screen.line(
            label,
            f"{words.role(each.role)} by {words.one_line(each.model, 40)} in {words.one_line(each.pool, 20)}: "
            f"{words.seconds(each.mean_duration):.2f} s a call, {source}",
        )
        label = ""


def _notes(screen: Screen, report: pb.CostReport) -> None:
    for note in report.notes:
        screen.line("Note", words.one_line(note.message), "yellow")


_COUNTS: Final = {
    "calls": "call_count",
    "retries": "retry_count",
    "wasted_calls": "wasted_call_count",
    "prompt_tokens": "prompt_token_count",
    "cached_tokens": "cached_token_count",
    "completion_tokens": "completion_token_count",
    "images": "image_count",
    "questions": "question_count",
    "answered": "answered_count",
    "judged": "judged_count",
    "correct": "correct_count",
}


def numbers(row: pb.CostRow) -> dict[str, Any]:
    """Returns all numbers of a row; what is not known is None."""
    found: dict[str, Any] = {name: getattr(row, field) for name, field in _COUNTS.items()}
    found["model_seconds"] = words.seconds(row.model_duration)
    found["isolated_seconds"] = words.seconds(row.isolated_duration) if _is_isolated(row) else None
    for basis in BASES:
        spending = getattr(row, basis)
        is_known = row.HasField(_field(basis))
        found[f"{basis}_gpu_seconds"] = spending.gpu_seconds if is_known else None
        found[f"{basis}_cost"] = spending.cost if is_known and spending.HasField("cost") else None
    return found


def write_csv(report: pb.CostReport, names: Sequence[str], stream: TextIO) -> None:
    """Writes the rows, or without any grouping the total, as a table with a head line."""
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow([*names, *numbers(report.total), "currency"])
    for row in report.rows if names else [report.total]:
        lines.writerow([*(value(row, name) for name in names), *numbers(row).values(), report.currency])
