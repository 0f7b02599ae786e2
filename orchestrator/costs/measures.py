"""What is learned from all calls that were looked at, whoever made them: how long one takes alone, what one costs."""

from __future__ import annotations

from typing import NamedTuple

from longvideo.prices import PriceBook
from orchestrator.costs.cells import Sum
from orchestrator.costs.sharing import Amount, Part


class Alone(NamedTuple):
    """The mean seconds of calls that were alone, and how many there were; 0 where the price book says it."""

    seconds: float
    calls: int


class Mean(NamedTuple):
    """What one of something takes, on the attributed basis."""

    seconds: float
    spent: Amount


class _Total:
    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.spent = Sum()

    def add(self, count: int, seconds: float, spent: Amount) -> None:
        self.count += count
        self.seconds += seconds
        self.spent.add(spent)

    @property
    def mean(self) -> Mean | None:
        if not self.count:
            return None
        return Mean(self.seconds / self.count, self.spent.amount.times(1 / self.count))


class Measures:
    """Adds up what calls took that succeeded and have ended."""

    def __init__(self, book: PriceBook | None) -> None:
        self._book = book
        self._alone: dict[tuple[str, str, str], tuple[int, float]] = {}
        self._captions = _Total()
        self._prefills: dict[tuple[str, str], _Total] = {}

    def add(self, part: Part) -> None:
        """Looks at a call."""
        call = part.call
        if not part.has_ended or call.outcome != "ok":
            return
        if part.was_alone:
            count, seconds = self._alone.get((call.role, call.model, call.pool), (0, 0.0))
            self._alone[call.role, call.model, call.pool] = count + 1, seconds + call.seconds
        if call.role == "caption":
            self._captions.add(1, call.seconds, part.whole)
        fresh = call.prompt_tokens - call.cached_tokens
        if call.prefill_seconds is not None and call.seconds > 0 and fresh > 0:
            # Of its share of the GPUs, a call used this much while it read its prompt.
            spent = part.whole.times(min(1.0, call.prefill_seconds / call.seconds))
            total = self._prefills.get((call.model, call.pool))
            if total is None:
                total = self._prefills[call.model, call.pool] = _Total()
            total.add(fresh, call.prefill_seconds, spent)

    def alone(self, role: str, model: str, pool: str) -> Alone | None:
        """Returns how long a call takes that is alone: as the price book says, or as measured; None if neither."""
        if self._book is not None and (seconds := self._book.alone(role, model, pool)) is not None:
            return Alone(seconds, 0)
        if found := self._alone.get((role, model, pool)):
            return Alone(found[1] / found[0], found[0])
        return None

    def caption(self) -> Mean | None:
        """Returns what a caption takes, or None when none was made."""
        return self._captions.mean

    def prompt_token(self, model: str, pool: str) -> Mean | None:
        """Returns what reading one prompt token takes, or None where no server has said."""
        total = self._prefills.get((model, pool))
        return total.mean if total is not None else None
