"""What the page says about a job as a whole: its numbers, its plots, and what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from client import words
from client.report import plots
from client.report.gather import Gathered
from client.report.question import Question
from client.report.spending import Unit, lasting, mean
from longvideo.v1 import orchestrator_pb2 as pb

OUTCOMES: Final = {
    "right": "right",
    "wrong": "wrong",
    "good": "answered",
    "none": "without an answer",
}
"""What became of a question, and how that is called."""

_BASES: Final = {
    "isolated": "each call as if it were alone",
    "attributed": "each call's share of the GPUs while it ran",
    "allocated": "its share of what was provided",
    "idle": "what stood idle beside it",
    "wasted": "of the shares, for calls that gave nothing",
}


@dataclass(frozen=True)
class Fact:
    """A number with its name, and what stands small behind it."""

    name: str
    value: str
    more: str = ""


def outcome(question: Question) -> str:
    """Returns which of OUTCOMES a question has."""
    if not question.answer:
        return "none"
    return question.verdict or "good"


def facts(asked: Sequence[Question], found: Gathered, unit: Unit) -> list[Fact]:
    """Returns the numbers that a person wants first."""
    judged = [question for question in asked if question.judged]
    right = sum(question.verdict == "right" for question in judged)
    answered = sum(bool(question.answer) for question in asked)
    spent = [question.spent for question in asked]
    shown = [Fact("Answered", f"{answered:,}", f"of {len(asked):,}")]
    if judged:
        shown.insert(0, Fact("Right", f"{100 * right / len(judged):.0f} %", f"{right:,} of {len(judged):,}"))
    shown.append(Fact(f"{unit.name} for a question", unit.write(mean(spent)), "on average"))
    if right and None not in spent:
        total = sum(value for value in spent if value is not None)
        shown.append(Fact(f"{unit.name} for a right answer", unit.write(total / right)))
    rounds = mean(question.rounds for question in asked)
    shown.append(Fact("Rounds", f"{rounds or 0:.1f}", "on average"))
    shown.append(Fact("Video opened", words.share(mean(question.opened for question in asked) or 0), "on average"))
    calls = sum(row.call_count for row in found.usage.rows)
    shown.append(Fact("Model calls", f"{calls:,}"))
    if unit.kind != "time":
        seconds = sum(words.seconds(row.model_duration) for row in found.usage.rows)
        shown.append(Fact("Model time", lasting(seconds)))
    return shown


def drawn(asked: Sequence[Question], found: Gathered) -> dict[str, Any]:
    """Returns the plots."""
    kinds = [outcome(question) for question in asked]
    counts = Counter(kinds)
    spent = [(question.spent, kind) for question, kind in zip(asked, kinds, strict=True)]
    names = [f"{row.model} ({words.role(row.role)})" for row in found.usage.rows]
    usage = list(zip(names, found.usage.rows, strict=True))
    return {
        "outcomes": plots.share_of_each((kind, counts[kind]) for kind in OUTCOMES),
        "rounds": plots.rounds([(question.rounds, kind) for question, kind in zip(asked, kinds, strict=True)]),
        "spent": plots.amounts([(value, kind) for value, kind in spent if value is not None], "{:,.10g}".format),
        "opened": plots.opened(
            [(bar.left, bar.width) for lane in question.lanes for bar in lane.bars] for question in asked
        ),
        "seconds": plots.rows((name, words.seconds(row.model_duration), "") for name, row in usage),
        "calls": plots.rows((name, row.call_count, "call") for name, row in usage),
    }


def savings(found: Gathered, unit: Unit) -> list[Fact]:
    """Returns what was not spent, each compared with another way of answering the same questions."""
    saved = found.costs.whole.savings
    kinds = (
        ("Captions that existed", saved.caption_cache, "caption", ""),
        ("Prompts that were still known", saved.prefix_cache, "token", ""),
        ("Stopping early", saved.early_halting, "segment", " not looked at"),
    )
    return [
        Fact(name, _saved(each, unit), words.plural(each.count, noun) + more)
        for name, each, noun, more in kinds
        if each.count > 0
    ]


def _saved(saved: pb.SavedCost, unit: Unit) -> str:
    if saved.spending.gpu_seconds:
        return f"about {unit.of(saved.spending)}"
    return f"about {lasting(words.seconds(saved.model_duration))}" if saved.HasField("model_duration") else "not known"


def bases(found: Gathered, unit: Unit) -> list[Fact]:
    """Returns what the job cost on each basis that is known."""
    total = found.costs.whole.total
    if unit.kind == "time":
        return []
    spendings: dict[str, pb.Spending] = {
        "isolated": total.isolated,
        "attributed": total.attributed,
        "allocated": total.allocated,
        "idle": total.idle,
        "wasted": total.wasted,
    }
    return [
        Fact(name.capitalize(), unit.of(spending), _BASES[name])
        for name, spending in spendings.items()
        if spending.gpu_seconds or spending.cost
    ]


def usage(found: Gathered, unit: Unit) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns what the models took, a line for each role, model and pool, and their sum."""
    costs = {(row.role, row.model, row.pool): row for row in found.costs.whole.rows}
    lines = []
    for row in found.usage.rows:
        cost = costs.get((row.role, row.model, row.pool))
        lines.append(_line(row) | {"cost": unit.write(unit.value(cost) if cost is not None else None)})
    keys = ("calls", "failed", "seconds", "prompt", "cached", "completion")
    total = {key: sum(line[key] for line in lines) for key in keys}
    return lines, total | {"cost": unit.write(unit.value(found.costs.whole.total))}


def _line(row: pb.UsageRow) -> dict[str, Any]:
    return {
        "role": words.role(row.role),
        "model": row.model,
        "pool": row.pool,
        "calls": row.call_count,
        "failed": row.failed_call_count,
        "seconds": words.seconds(row.model_duration),
        "prompt": row.prompt_token_count,
        "cached": row.cached_token_count,
        "completion": row.completion_token_count,
    }
