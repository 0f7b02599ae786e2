"""What a job may spend, as the worker of one of its episodes sees it.

The job's row sums what its calls take, so that all workers see the same, and each checkpoint brings back how the job
stands. What is nearly spent is judged by the dearest reply and the dearest action of the episode so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from longvideo.errors import FailedPrecondition
from longvideo.usage import Call
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.spec import BudgetExhausted
from orchestrator.store.spending import NOTHING, Price, Spent, Standing, spent

_UNITS = ("GPU-seconds", "in the price book's currency")


class Purse:
    """The budget of a job, how the job stands, and what the rounds of one of its episodes take."""

    def __init__(self, budget: pb.Budget, price: Price, standing: Standing) -> None:
        """Makes the purse of an episode, whose job stood like this when it was taken up."""
        self._bounds = (budget.max_gpu_seconds, budget.max_cost)
        self._price = price
        self._standing = standing
        self._replies: dict[int, Spent] = {}
        self._actions: dict[int, Spent] = {}

    def took(self, number: int, calls: Sequence[Call]) -> None:
        """Notes calls that were made in a round. Those before the first, for one caption, are an action like others."""
        place = number or -len(self._actions) - 1
        for is_reply, sums in ((True, self._replies), (False, self._actions)):
            known = sums.get(place, NOTHING)
            more = spent((call for call in calls if (call.role == "reason") == is_reply), self._price)
            sums[place] = Spent(known.gpu_seconds + more.gpu_seconds, (known.cost or 0.0) + (more.cost or 0.0))

    def stands(self, standing: Standing) -> None:
        """Notes how the job stands by now."""
        self._standing = Standing(standing.spent, standing.running or self._standing.running)

    def check(self) -> None:
        """Raises BudgetExhausted when nothing is left, and FailedPrecondition when nobody can tell."""
        for bound, used, unit in zip(self._bounds, self._standing.spent, _UNITS, strict=True):
            if not bound:
                continue
            if used is None:
                raise FailedPrecondition(
                    "the job has a max_cost, and one of its calls was served by GPUs for which the price book has no "
                    "price; add the price of every pool that serves models, and submit the job again",
                    reason="PRICE_UNKNOWN",
                )
            if used >= bound:
                raise BudgetExhausted(
                    f"Nothing is left of the job's budget: its model calls took {used:,.4g} of {bound:,.4g} {unit}."
                )

    @property
    def nearly_spent(self) -> bool:
        """Whether less is left than it takes to let every running episode of the job do one more round, and answer."""
        for measure, bound in enumerate(self._bounds):
            last_two_rounds = 2 * _dearest(self._replies, measure) + _dearest(self._actions, measure)
            left = bound - (self._standing.spent[measure] or 0.0)
            if bound and left < self._standing.running * last_two_rounds:
                return True
        return False


def _dearest(sums: Mapping[int, Spent], measure: int) -> float:
    return max((each[measure] or 0.0 for each in sums.values()), default=0.0)
