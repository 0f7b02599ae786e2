"""When a job's budget is spent, and when nearly."""

from __future__ import annotations

from typing import Any

import pytest

from longvideo.errors import FailedPrecondition
from longvideo.prices import Price, PriceBook
from longvideo.usage import Call, Role
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.budget import Purse
from orchestrator.spec import BudgetExhausted
from orchestrator.store.spending import NOTHING, Spent, Standing, no_price, spent

HOURLY = 7200.0
"""What a GPU-hour costs here: 2 for a second of a GPU, and from 1,000 s on twice that."""
BOOK = PriceBook("EUR", [Price("h800", HOURLY, 0.0, "made up"), Price("h800", 2 * HOURLY, 1000.0, "made up")])


def call(role: Role, seconds: float, gpus: int = 1, **changes: Any) -> Call:
    """Returns a model call at the first price."""
    told = {"pool": "h800", "start_time": 0.0, "outcome": "ok", **changes}
    return Call(role, "m", "http://x/v1", gpus=gpus, seconds=seconds, **told)


def purse(used: Spent = NOTHING, **budget: float) -> Purse:
    """Returns the purse of a job's only episode."""
    return Purse(pb.Budget(**budget), BOOK.of, Standing(used, 1))


def test_what_calls_take() -> None:
    """Calls take their seconds times their GPUs, at the prices that held while they lasted; failed ones too."""
    assert spent([], BOOK.of) == NOTHING
    assert spent([call("reason", 3.0, 2), call("qa", 1.0, outcome="timeout")], BOOK.of) == Spent(7.0, 14.0)
    assert spent([call("reason", 4.0, start_time=999.0)], BOOK.of) == Spent(4.0, 2.0 + 3 * 4.0)
    assert spent([call("reason", 4.0, pool="a800"), call("reason", 1.0)], BOOK.of) == Spent(5.0, None)
    assert spent([call("reason", 4.0, 0, pool="a800")], BOOK.of) == NOTHING
    assert spent([call("reason", 4.0)], no_price) == Spent(4.0, None)
    assert spent([call("reason", 4.0, 0)], no_price) == NOTHING


@pytest.mark.parametrize(
    ("budget", "used", "left"),
    [
        ({"max_gpu_seconds": 10.0}, Spent(9.9, None), True),
        ({"max_gpu_seconds": 10.0}, Spent(10.0, None), False),
        ({"max_cost": 10.0}, Spent(99.0, 9.9), True),
        ({"max_cost": 10.0}, Spent(1.0, 10.5), False),
        ({"max_cost": 10.0, "max_gpu_seconds": 10.0}, Spent(1.0, 1.0), True),
        ({"max_cost": 10.0, "max_gpu_seconds": 10.0}, Spent(11.0, 1.0), False),
        ({"max_cost": 10.0, "max_gpu_seconds": 10.0}, Spent(1.0, 11.0), False),
    ],
)
def test_nothing_left(budget: dict[str, float], used: Spent, left: bool) -> None:
    """A budget is spent when its job has taken as much as either bound allows."""
    made = purse(used, **budget)
    if left:
        made.check()
        return
    with pytest.raises(BudgetExhausted, match=r"Nothing is left of the job's budget: its model calls took 1\d"):
        made.check()


def test_cost_that_nobody_knows() -> None:
    """A bound on the cost cannot be kept when a call had no price, and says what to do; one on GPU-seconds can."""
    with pytest.raises(FailedPrecondition, match="add the price of every pool") as caught:
        purse(Spent(1.0, None), max_cost=5.0).check()
    assert caught.value.reason == "PRICE_UNKNOWN"
    purse(Spent(1.0, None), max_gpu_seconds=5.0).check()


def test_nearly_spent() -> None:
    """There must be room for the dearest action and two of the dearest replies, for each running episode."""
    made = purse(max_gpu_seconds=100.0)
    made.took(0, [call("caption", 5.0)])
    made.took(0, [call("caption", 6.0)])
    made.took(1, [call("reason", 1.0), call("reason", 1.0)])
    made.took(1, [call("caption", 2.0, 2)])
    made.took(2, [call("reason", 0.5)])
    for used, running, nearly in (
        (90.0, 1, False),
        (90.1, 1, True),
        (70.0, 3, False),
        (70.1, 3, True),
        (70.1, 2, False),
    ):
        made.stands(Standing(Spent(used, None), running))
        assert made.nearly_spent is nearly, (used, running)


def test_nearly_spent_in_money() -> None:
    """The bound on the cost leaves room in the same way, and whichever bound is nearer counts."""
    made = purse(max_gpu_seconds=1000.0, max_cost=20.0)
    made.took(1, [call("reason", 1.0)])
    made.took(1, [call("qa", 1.0)])
    made.stands(Standing(Spent(7.0, 14.0), 1))
    assert not made.nearly_spent
    made.stands(Standing(Spent(7.1, 14.2), 1))
    assert made.nearly_spent


def test_models_without_a_gpu() -> None:
    """Models that use no GPU take nothing, so that no budget is ever spent by them."""
    made = purse(max_gpu_seconds=0.1, max_cost=0.1)
    made.took(1, [call("reason", 100.0, 0, pool="nowhere")])
    made.check()
    assert not made.nearly_spent


def test_running_episodes_stay_known() -> None:
    """What says nothing of the running episodes leaves their number as it was."""
    made = purse(max_gpu_seconds=10.0)
    made.took(1, [call("reason", 1.0)])
    made.stands(Standing(Spent(5.0, 0.0), 3))
    made.stands(Standing(Spent(5.0, 0.0), 0))
    assert made.nearly_spent
