"""What was not spent: estimates, each against another way of answering the same questions."""

from __future__ import annotations

from collections.abc import Iterable

from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.costs.cells import Cell, Kind, Sum
from orchestrator.costs.measures import Mean
from orchestrator.costs.notes import Notes, listed
from orchestrator.costs.rows import Rows, duration
from orchestrator.store.costs import Seen


def savings(rows: Rows, cells: Iterable[tuple[Kind, Cell]], seen: Seen, notes: Notes) -> pb.CostSavings:
    """Returns what captions, prompt tokens and segments that were not needed would have taken."""
    caption = rows.measures.caption()
    if caption is None and (seen.cached_captions or seen.low_segments):
        notes.add(
            "NO_CAPTION_MADE",
            "No caption was made in this time or on its last day, so nobody knows what the saved ones would have cost; "
            "ask for a longer time.",
        )
    return pb.CostSavings(
        caption_cache=_saved(rows, seen.cached_captions, caption),
        prefix_cache=_prefix(rows, cells, notes),
        early_halting=_saved(rows, seen.low_segments - seen.read_segments, caption),
    )


def _saved(rows: Rows, count: int, each: Mean | None) -> pb.SavedCost:
    found = pb.SavedCost(count=count)
    if each is not None:
        found.model_duration.CopyFrom(duration(each.seconds * count))
        found.spending.CopyFrom(rows.spending(each.spent.times(count)))
    return found


def _prefix(rows: Rows, cells: Iterable[tuple[Kind, Cell]], notes: Notes) -> pb.SavedCost:
    """Returns the tokens that came from the prefix cache, and what reading them takes where servers tell of that."""
    count, seconds, spent, unknown = 0, 0.0, Sum(), set()
    for kind, cell in cells:
        if cell.cached_tokens:
            count += cell.cached_tokens
            if each := rows.measures.prompt_token(kind.model, kind.pool):
                seconds += each.seconds * cell.cached_tokens
                spent.add(each.spent.times(cell.cached_tokens))
            else:
                unknown.add(f"{kind.model} in {kind.pool}")
    found = pb.SavedCost(count=count)
    if unknown:
        notes.add(
            "NO_PREFILL_TIME",
            f"The servers of {listed(unknown)} do not tell how long reading a prompt takes, so what their prefix cache "
            "saved is known in tokens alone; vLLM tells it with --enable-per-request-metrics.",
        )
    else:
        found.model_duration.CopyFrom(duration(seconds))
        found.spending.CopyFrom(rows.spending(spent.amount))
    return found
