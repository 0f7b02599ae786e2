"""What the simulated day rests on: the control law, against examples worked out by hand, and pods that take time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bench.autoscale import arrivals, strategies
from bench.autoscale.arrivals import SECONDS, Question
from bench.autoscale.control import (
    Activation,
    Horizontal,
    Policy,
    Rules,
    by_average,
    by_utilization,
)
from bench.autoscale.day import WORKERS, Cluster, Result, Ruler, Seen, Shape
from bench.autoscale.pods import Clock, Pod, Pods
from bench.autoscale.scaled import Scaled

FAST = Rules(0.0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))


@pytest.mark.parametrize(
    ("total", "target", "current", "wanted"),
    [
        (18, 8, 2, 3),  # 2.25 replicas
        (16, 8, 2, 2),  # exactly
        (17.5, 8, 2, 2),  # 1.09 of what they should have: within a tenth
        (18, 8, 3, 3),  # 0.75 of it, which three replicas round up to
        (16, 8, 3, 2),
        (0, 8, 3, 0),
        (1, 8, 1, 1),
    ],
)
def test_by_average(total: float, target: float, current: int, wanted: int) -> None:
    """The work divided by what a replica should have, rounded up, unless that is within a tenth of how it is."""
    assert by_average(total, target, current) == wanted


@pytest.mark.parametrize(
    ("used", "ready", "current", "wanted"),
    [(0.4, 2, 2, 1), (0.8, 2, 2, 2), (0.86, 2, 2, 2), (1.6, 2, 2, 4), (0.9, 3, 3, 4), (2.0, 0, 1, 1)],
)
def test_by_utilization(used: float, ready: int, current: int, wanted: int) -> None:
    """The ready pods times their use over the target of 80 %, rounded up; nothing is known where none is ready."""
    assert by_utilization(used, 0.8, ready, current) == wanted


def decisions(horizontal: Horizontal, wanted: Sequence[int | None], start: int, every: float = 15.0) -> list[int]:
    """Returns how many replicas there are after each decision."""
    counts, current = list[int](), start
    for number, each in enumerate(wanted):
        current = horizontal.decide(number * every, current, [each])
        counts.append(current)
    return counts


def test_growth_is_bounded_by_the_wider_policy() -> None:
    """Four more within 15 s, or twice as many, whichever is more; and never more than the most."""
    assert decisions(Horizontal(1, 40, FAST), [40] * 5, 1) == [5, 10, 20, 40, 40]
    assert decisions(Horizontal(1, 7, FAST), [40] * 3, 1) == [5, 7, 7]


def test_a_need_for_more_must_last() -> None:
    """Within the window the least that was wanted counts: a minute's peak of 45 s starts nothing."""
    horizontal = Horizontal(1, 10, Rules(60.0, FAST.policies))
    assert decisions(horizontal, [1, 4, 4, 4, 1, 4, 4, 4, 4, 4], 1) == [1, 1, 1, 1, 1, 1, 1, 1, 4, 4]


def test_a_need_for_fewer_must_last() -> None:
    """Within the window the most that was wanted counts, and then one goes in every period."""
    horizontal = Horizontal(1, 10, FAST, Rules(60.0, (Policy("Pods", 1, 30),)))
    assert decisions(horizontal, [4, 1, 1, 1, 1, 1, 1, 1, 1, 1], 4) == [4, 4, 4, 4, 3, 3, 2, 2, 1, 1]


def test_what_is_not_known_scales_nothing_in() -> None:
    """Without any answer nothing changes; with one of two, only for more."""
    horizontal = Horizontal(1, 10, FAST, Rules(0.0, (Policy("Percent", 100, 15),)))
    assert horizontal.decide(0, 3, [None]) == 3
    assert horizontal.decide(15, 3, [1, None]) == 3
    assert horizontal.decide(30, 3, [5, None]) == 5
    assert horizontal.decide(45, 5, [1, 2]) == 2
    assert horizontal.decide(60, 0, [5]) == 0, "from none to some is not its part"


def test_from_none_to_some_and_back() -> None:
    """Something to do makes one replica of none at once; after the cool-down without anything to do there is none."""
    activation = Activation(0, 300)
    assert activation.decide(0, 0, False) == 0
    assert activation.decide(15, 0, True) == 1
    assert activation.decide(30, 2, True) == 2
    assert activation.decide(330, 2, False) == 2
    assert activation.decide(331, 2, False) == 0
    assert Activation(0, 300).decide(1000, 2, None) == 2, "no answer is no reason"
    assert Activation(2, 300).decide(0, 1, False) == 2


def seen(**changes: Any) -> Seen:
    """Returns a quiet minute with one replica, but for some changes."""
    quiet = {"running": 0, "waiting": 0, "in_flight": 0, "failed_lately": 0, "episodes": 0, "replicas": 1, "ready": 1}
    return Seen(**{**quiet, **changes})


def spec(query: str, threshold: int, least: int, most: int = 9) -> dict[str, Any]:
    """Returns a ScaledObject's spec without windows."""
    behavior = {"scaleUp": {"stabilizationWindowSeconds": 0}, "scaleDown": {"stabilizationWindowSeconds": 0}}
    return {
        "minReplicaCount": least,
        "maxReplicaCount": most,
        "pollingInterval": 30,
        "cooldownPeriod": 60,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
        "triggers": [{"type": "prometheus", "metadata": {"query": query, "threshold": str(threshold)}}],
    }


def test_a_scaled_object_reads_what_its_query_asks_for() -> None:
    """Each of the chart's queries means its own number; one that the bench does not know is refused."""
    servers = Scaled(spec("sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)", 6, 1))
    assert servers(0, seen(running=6, waiting=7)) == 3
    assert servers(15, seen(running=None, waiting=None, replicas=3, ready=0)) == 3
    callers = Scaled(spec("sum(longvideo_model_calls_in_flight) + clamp_max(…)", 6, 0))
    assert callers(0, seen(replicas=0, ready=0)) == 0
    assert callers(15, seen(replicas=0, ready=0, failed_lately=9)) == 0, "it is not time to look yet"
    assert callers(30, seen(replicas=0, ready=0, failed_lately=9)) == 1
    assert callers(45, seen(in_flight=12, failed_lately=9)) == 3
    assert Scaled(spec("max(longvideo_episodes_waiting)", 48, 2))(0, seen(episodes=130, replicas=2)) == 3
    with pytest.raises(ValueError, match="knows no metric"):
        Scaled(spec("up", 1, 1))(0, seen())


def test_pods_take_time_and_have_so_many_places() -> None:
    """What finds no place waits, those of batches last; a pod that leaves ends what it has, and costs until then."""
    clock = Clock()
    pods = Pods(clock, places=1, start_seconds=100, replicas=1)
    order, held = list[str](), dict[str, Pod]()

    def take(name: str, *, last: bool = False) -> None:
        def start(pod: Pod) -> None:
            order.append(name)
            held[name] = pod

        pods.take(start, last=last)

    take("first")
    take("batch", last=True)
    take("person")
    assert (order, pods.taken, pods.waiting) == (["first"], 1, 2)
    pods.scale(2)
    assert (pods.replicas, pods.ready) == (2, 1)
    clock.run(lambda: clock.now >= 100)
    assert (order, pods.ready) == (["first", "person"], 2)
    pods.scale(1)
    assert pods.replicas == 1
    clock.after(50, lambda: pods.free(held["person"]))
    clock.run(lambda: clock.now >= 150)
    assert order == ["first", "person"], "the youngest has left, and takes no more"
    assert pods.seconds() == 150 + 150
    pods.free(held["first"])
    assert order[-1] == "batch"


def run(questions: Sequence[Question], ruler: Callable[[], Ruler], replicas: int) -> Result:
    """Returns a day with one kind of models."""
    shapes = {WORKERS: Shape(frozenset(), 64, 20), "all": Shape(frozenset(SECONDS), 8, 300, gpus=2)}
    return Cluster(shapes, {WORKERS: (1, lambda now, seen: 1), "all": (replicas, ruler())}).run(questions)


ONE = [Question(3600.0, False, (("caption",) * 5, ("reason",)))]


def test_a_question_that_finds_everything_ready_waits_for_nothing() -> None:
    """With replicas enough a question takes its calls' own time, and GPUs cost all day."""
    result = run(ONE, lambda: lambda now, seen: 1, 1)
    assert result.waits == (0.0,)
    assert (result.gpu_hours, result.starts) == (pytest.approx(48, abs=0.1), 0)


def test_a_question_that_finds_nothing_waits_for_a_replica() -> None:
    """From zero the first question waits until a replica has loaded, which goes again once nobody asks."""
    callers = spec("sum(longvideo_model_calls_in_flight)", 6, 0)
    result = run(ONE, lambda: Scaled(callers), 0)
    assert 300 < result.waits[0] < 300 + 30 + 15 + 60 + 15
    assert result.starts == 1
    assert result.gpu_hours == pytest.approx(2 * (300 + 300 + 60) / 3600, rel=0.3)


def test_a_day_is_the_same_every_time_and_as_the_method_says() -> None:
    """A seed makes one day; its questions take the method's mean of calls of each kind."""
    questions = arrivals.day(1)
    assert questions == arrivals.day(1)
    assert questions != arrivals.day(2)
    assert [each.time for each in questions] == sorted(each.time for each in questions)
    calls = [kind for each in questions for step in each.steps for kind in step]
    means = {kind: calls.count(kind) / len(questions) for kind in SECONDS}
    assert means == pytest.approx({"reason": 10.5, "caption": 14.14, "qa": 0.36}, rel=0.05)


def test_what_is_compared_is_the_chart_s_own() -> None:
    """Ours waits less than by CPU, and takes less than what is sized for the busiest minute; from zero the least."""
    load = {strategies.REASONER: 180.0, strategies.VISION: 420.0}
    results = {name.split(" (")[0]: each for name, each in strategies.compare(arrivals.day(1, 0.1), load, 64)}
    most, cpu, ours = (
        results[name] for name in ("fixed, for the busiest minute", "KServe's own, by CPU, from 1", "ours, from 1")
    )
    assert sum(ours.waits) < sum(cpu.waits)
    assert results["ours, from 0"].gpu_hours < ours.gpu_hours < most.gpu_hours
