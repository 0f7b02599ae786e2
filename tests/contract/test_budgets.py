"""Budgets: what a job may take, over all its episodes, and how it ends when that is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from longvideo import errors
from longvideo.inference import Endpoint
from longvideo.prices import Price, PriceBook
from longvideo.prompts import load_pack
from longvideo.settings import Settings
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.api import checks
from tests.contract.database import VIDEO, add_video
from tests.contract.orchestrator_world import SCRIPT, Gate, World

CAPTION = 1.0
"""How many GPU-seconds a caption takes here, and a clip answer; the reasoner takes none."""
HIGH = 4 * CAPTION
BOOK = PriceBook("EUR", [Price("h800", 3600.0, 0.0, "made up: 1 for a GPU-second")])
LAST = load_pack().render("last_round")


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Returns what makes an orchestrator with a ready video."""
    made = []

    def make(**options: Any) -> World:
        world = World(tmp_path, **options)
        made.append(world)
        add_video(world.database)
        return world

    yield make
    for world in made:
        world.close()


def budget(**bounds: float) -> pb.Budget:
    """Returns a budget."""
    return pb.Budget(**bounds)


def test_budget_that_suffices(worlds: Callable[..., World]) -> None:
    """A job within its budget ends as without one, and tells what it took; one that has none tells it too."""
    world = worlds(book=BOOK)
    done = world.finish(world.submit(str(VIDEO), budget=budget(max_cost=100, max_gpu_seconds=100)))
    assert done.episodes[0].ending == pb.Episode.ENDING_ANSWERED
    assert done.spending == pb.Spending(gpu_seconds=HIGH + 2 * CAPTION, cost=HIGH + 2 * CAPTION)
    assert done.budget == budget(max_cost=100, max_gpu_seconds=100)
    again = world.finish(world.submit(str(VIDEO), "again?"))
    assert not again.HasField("budget")
    assert again.spending == pb.Spending(gpu_seconds=CAPTION, cost=CAPTION), "the captions were known"


@pytest.mark.parametrize("bound", ["max_cost", "max_gpu_seconds"])
def test_last_words(worlds: Callable[..., World], bound: str) -> None:
    """When too little is left for another round, the reasoner is told in the words of the last one, and answers."""
    world = worlds(book=BOOK)
    world.reason = lambda number: SCRIPT[2] if number == 1 else SCRIPT[number]
    done = world.finish(world.submit(str(VIDEO), budget=budget(**{bound: HIGH + CAPTION + 0.5})))
    (only,) = done.episodes
    assert (only.ending, only.round_count, only.choice) == (pb.Episode.ENDING_ANSWERED, 2, "")
    first, second = world.reasoner.requests
    assert LAST not in str(first["messages"][-1]["content"])
    assert second["messages"][-1]["content"].endswith(LAST)
    full = world.stub.GetEpisode(pb.GetEpisodeRequest(name=only.name, view=pb.EPISODE_VIEW_FULL))
    assert [each.text for each in full.transcript][:-1] == [each["content"] for each in second["messages"]]


def test_nothing_left_for_the_first_round(worlds: Callable[..., World]) -> None:
    """When the captions took everything, no other model is called; episodes that had not begun call none at all."""
    world = worlds(book=BOOK)
    done = world.finish(world.submit(str(VIDEO), budget=budget(max_gpu_seconds=HIGH)))
    (only,) = done.episodes
    assert (only.state, only.ending) == (pb.Episode.STATE_UNANSWERED, pb.Episode.ENDING_BUDGET_EXHAUSTED)
    assert (only.error.code, only.error.reason) == (0, "BUDGET_EXHAUSTED")
    assert only.error.message == "Nothing is left of the job's budget: its model calls took 4 of 4 GPU-seconds."
    assert done.state == pb.Job.STATE_SUCCEEDED
    assert world.reasoner.requests == []


def test_one_budget_for_all_episodes(worlds: Callable[..., World]) -> None:
    """The episodes of a job spend together: what is left is left for all, and it is passed by no more than a round."""
    world = worlds(book=BOOK)
    questions = [f"Question {number}?" for number in range(12)]
    bound = HIGH + 5 * CAPTION
    done = world.finish(world.submit(str(VIDEO), *questions, budget=budget(max_gpu_seconds=bound)))
    endings = [episode.ending for episode in done.episodes]
    assert set(endings) <= {
        pb.Episode.ENDING_ANSWERED,
        pb.Episode.ENDING_BUDGET_EXHAUSTED,
        pb.Episode.ENDING_ROUNDS_EXHAUSTED,  # the script does not answer when it is told to
    }
    assert pb.Episode.ENDING_BUDGET_EXHAUSTED in endings
    running = 4
    assert bound <= done.spending.gpu_seconds <= bound + running * (HIGH + CAPTION)
    calls = [call for page in world.stub.ExportUsage(pb.ExportUsageRequest()) for call in page.entries]
    took = sum(entry.call.duration.ToNanoseconds() / 1e9 * entry.call.gpu_count for entry in calls)
    assert done.spending.gpu_seconds == pytest.approx(took)
    before = len(world.reasoner.requests), len(world.services.caption_requests)
    exhausted = [each for each in done.episodes if each.ending == pb.Episode.ENDING_BUDGET_EXHAUSTED]
    assert any(each.round_count == 0 for each in exhausted)
    assert (len(world.reasoner.requests), len(world.services.caption_requests)) == before


def test_restart_with_a_budget(worlds: Callable[..., World]) -> None:
    """Who takes an episode up again knows what its rounds took, and tells the last words that were told before."""
    world = worlds(book=BOOK)
    world.reason = gate = Gate(1)
    job = world.submit(str(VIDEO), budget=budget(max_cost=HIGH + 2 * CAPTION - 0.1))
    gate.reached.wait(30)
    world.stop()
    gate.opened.set()
    world.reasoner.requests.clear()
    world.reason = lambda _: SCRIPT[2]
    world.start()
    done = world.finish(job)
    assert done.episodes[0].ending == pb.Episode.ENDING_ANSWERED
    (request,) = world.reasoner.requests
    assert request["messages"][-1]["content"].count(LAST) == 1


def test_calls_without_a_price(worlds: Callable[..., World]) -> None:
    """When a call turns out to have no price, a job with a bound on its cost fails and says why."""
    world = worlds(book=PriceBook("EUR", []))
    done = world.finish(world.submit(str(VIDEO), budget=budget(max_cost=100)))
    (only,) = done.episodes
    assert (only.state, only.error.reason) == (pb.Episode.STATE_FAILED, "PRICE_UNKNOWN")
    assert not done.spending.HasField("cost")
    assert done.spending.gpu_seconds == HIGH


def test_failed_calls_are_spent(worlds: Callable[..., World]) -> None:
    """Calls that gave nothing count too."""
    world = worlds(book=BOOK)
    world.endpoint = world.endpoint.model_copy(update={"gpus": 1})
    world.stop()
    world.start()
    world.reasoner.owned_by = "a server that holds no reply to a pattern"
    world.reason = lambda number: SCRIPT[2] if number else "I have no idea."
    done = world.finish(world.submit(str(VIDEO), budget=budget(max_gpu_seconds=1000)))
    kept = [entry.call for page in world.stub.ExportUsage(pb.ExportUsageRequest()) for entry in page.entries]
    assert len(kept) == 6
    took = sum(call.duration.ToNanoseconds() / 1e9 * call.gpu_count for call in kept)
    assert done.spending.gpu_seconds == pytest.approx(took)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"max_cost": -1}, "job.budget.max_cost is -1; give a number above 0, or 0 for no such bound"),
        ({"max_gpu_seconds": float("nan")}, "job.budget.max_gpu_seconds is nan"),
        ({"max_gpu_seconds": float("inf")}, "job.budget.max_gpu_seconds is inf"),
    ],
)
def test_budgets_that_are_none(worlds: Callable[..., World], bounds: dict[str, float], message: str) -> None:
    """A bound that is no number is refused with the field, the value and the fix; one of nothing bounds nothing."""
    world = worlds(work=False)
    with pytest.raises(errors.InvalidArgument, match=message):
        world.submit(str(VIDEO), budget=budget(**bounds))
    assert not world.submit(str(VIDEO), budget=budget(max_cost=0)).HasField("budget")


def test_cost_without_prices(worlds: Callable[..., World]) -> None:
    """A bound on the cost is refused where there is no price book, or where a pool that may serve has no price."""
    with pytest.raises(errors.FailedPrecondition, match="max_cost is 5, and the server has no price book") as caught:
        worlds(work=False).submit(str(VIDEO), budget=budget(max_cost=5))
    assert caught.value.reason == "PRICE_UNKNOWN"
    pools = (("h800", 1), ("a800", 2), ("cpu", 0))
    endpoints = [Endpoint(url="http://x/v1", roles=frozenset({"qa"}), pool=pool, gpus=gpus) for pool, gpus in pools]
    settings = Settings(endpoints=tuple(endpoints))
    job = pb.Job(budget=budget(max_cost=5))
    with pytest.raises(errors.FailedPrecondition, match="the price book has no price for a800, where its calls"):
        checks.priced(settings, BOOK, job)
    job.config.pool = "h800"
    checks.priced(settings, BOOK, job)
    job.config.pool = "cpu"
    checks.priced(settings, BOOK, job)
    checks.priced(settings, None, pb.Job(budget=budget(max_gpu_seconds=5)))
