"""A day in a cluster: questions take their calls to models, and whoever rules over the pods looks on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bench.autoscale.arrivals import DAY, SECONDS, Kind, Question
from bench.autoscale.control import SYNC_SECONDS
from bench.autoscale.pods import Clock, Pod, Pods

WORKERS = "workers"
"""The pods that carry the questions out; all others answer calls."""

_SCRAPE_LAG = SYNC_SECONDS / 2
"""How old what Prometheus knows is when somebody asks."""

_ATTEMPT_SECONDS = 1.75
"""How long a call tries a model that has no pod before it gives up: four attempts, and the pauses between."""

_WAITS = (5.0, 60.0)
"""How long an episode waits then at first, doubled each time, and at most."""

_FAILED_WINDOW = 300.0
"""For how long a failed call counts as a wish for the model."""


@dataclass(frozen=True)
class Shape:
    """What pods of one kind are like: the calls that one answers at one time, and what it takes to have one."""

    kinds: frozenset[Kind]
    places: int
    start_seconds: float
    gpus: int = 0


@dataclass(frozen=True)
class Seen:
    """What Prometheus knows of pods of one kind; None of calls that only a ready pod could tell."""

    running: int | None
    waiting: int | None
    in_flight: int
    failed_lately: int
    episodes: int
    replicas: int
    ready: int


@dataclass(frozen=True)
class Result:
    """What the day was like: how long people's questions waited, in order, and those of batches, and what it took."""

    waits: tuple[float, ...]
    batch_waits: tuple[float, ...]
    gpu_hours: float
    starts: int
    most: Mapping[str, int]
    mean: Mapping[str, float]


Ruler = Callable[[float, Seen], int]
"""Given the time and what is known, says how many pods there are from now on. It is asked every SYNC_SECONDS."""


class Cluster:
    """The pods, by name, the questions under way, and who rules over each kind of pods."""

    def __init__(self, shapes: Mapping[str, Shape], rulers: Mapping[str, tuple[int, Ruler]]) -> None:
        """Begins with the replicas that stand with each ruler."""
        self.clock = Clock()
        self._shapes = shapes
        self._rulers = {name: ruler for name, (_, ruler) in rulers.items()}
        self._pods = {
            name: Pods(self.clock, shape.places, shape.start_seconds, rulers[name][0]) for name, shape in shapes.items()
        }
        self._model = {kind: name for name, shape in shapes.items() for kind in shape.kinds}
        self._in_flight = dict.fromkeys(shapes, 0)
        self._failed: dict[str, deque[float]] = {name: deque() for name in shapes}
        self._open = 0
        self._waits: tuple[list[float], list[float]] = ([], [])

    def run(self, questions: Sequence[Question]) -> Result:
        """Returns what became of the questions: until the day is over and the last one has its answer."""
        for question in questions:
            self.clock.after(question.time, _Episode(self, question).arrive)
        self.clock.after(_SCRAPE_LAG, self._look)
        self.clock.run(lambda: sum(map(len, self._waits)) == len(questions) and self.clock.now >= DAY)
        seconds = {name: pods.seconds() for name, pods in self._pods.items()}
        return Result(
            waits=tuple(sorted(self._waits[False])),
            batch_waits=tuple(sorted(self._waits[True])),
            gpu_hours=sum(seconds[name] * shape.gpus for name, shape in self._shapes.items()) / 3600,
            starts=sum(pods.starts for name, pods in self._pods.items() if self._shapes[name].gpus),
            most={name: pods.most for name, pods in self._pods.items()},
            mean={name: spent / self.clock.now for name, spent in seconds.items()},
        )

    def _look(self) -> None:
        seen = {name: self._seen(name) for name in self._shapes}
        self.clock.after(_SCRAPE_LAG, lambda: self._rule(seen))
        self.clock.after(SYNC_SECONDS, self._look)

    def _rule(self, seen: Mapping[str, Seen]) -> None:
        for name, ruler in self._rulers.items():
            self._pods[name].scale(ruler(self.clock.now, seen[name]))

    def _seen(self, name: str) -> Seen:
        pods, failed = self._pods[name], self._failed[name]
        while failed and failed[0] < self.clock.now - _FAILED_WINDOW:
            failed.popleft()
        known = pods.ready > 0
        return Seen(
            running=pods.taken if known else None,
            waiting=pods.waiting if known else None,
            in_flight=self._in_flight[name],
            failed_lately=len(failed),
            episodes=self._open,
            replicas=pods.replicas,
            ready=pods.ready,
        )

    def begin(self, start: Callable[[Pod], None], *, batch: bool, is_new: bool) -> None:
        """Calls `start` once a worker takes an episode up."""
        self._open += is_new
        self._pods[WORKERS].take(start, last=batch)

    def leave(self, worker: Pod) -> None:
        """Gives an episode back."""
        self._pods[WORKERS].free(worker)

    def end(self, waited: float, *, batch: bool) -> None:
        """Notes that a question has its answer, and how long it waited for others' sake."""
        self._open -= 1
        self._waits[batch].append(waited)

    def call(self, kind: Kind, done: Callable[[bool], None], *, batch: bool) -> None:
        """Calls a model, and then `done` with whether it answered."""
        name = self._model[kind]
        pods = self._pods[name]
        self._in_flight[name] += 1

        def finish(answered: bool) -> None:
            self._in_flight[name] -= 1
            if not answered:
                self._failed[name].append(self.clock.now)
            done(answered)

        def start(pod: Pod) -> None:
            def answer() -> None:
                pods.free(pod)
                finish(True)

            self.clock.after(SECONDS[kind], answer)

        if pods.ready:
            pods.take(start, last=batch)
        else:
            self.clock.after(_ATTEMPT_SECONDS, lambda: finish(False))


class _Episode:
    """A question on its way through its steps."""

    def __init__(self, cluster: Cluster, question: Question) -> None:
        self._cluster, self._question = cluster, question
        self._step, self._postponed = 0, 0
        self._left: list[Kind] = list(question.steps[0])
        self._worker: Pod | None = None

    def arrive(self) -> None:
        """The question is asked."""
        self._cluster.begin(self._taken, batch=self._question.batch, is_new=True)

    def _taken(self, worker: Pod) -> None:
        self._worker = worker
        self._go()

    def _go(self) -> None:
        calls, self._left = self._left, []
        self._under_way = len(calls)
        for kind in calls:
            self._cluster.call(kind, partial(self._came, kind), batch=self._question.batch)

    def _came(self, kind: Kind, answered: bool) -> None:
        self._under_way -= 1
        if not answered:
            self._left.append(kind)
        if self._under_way:
            return
        if self._left:
            self._postpone()
            return
        self._step, self._postponed = self._step + 1, 0
        if self._step < len(self._question.steps):
            self._left = list(self._question.steps[self._step])
            self._go()
            return
        self._give_back()
        waited = self._cluster.clock.now - self._question.time - self._question.seconds
        self._cluster.end(waited, batch=self._question.batch)

    def _postpone(self) -> None:
        self._give_back()
        first, most = _WAITS
        delay = min(most, first * 2**self._postponed)
        self._postponed += 1
        self._cluster.clock.after(
            delay, lambda: self._cluster.begin(self._taken, batch=self._question.batch, is_new=False)
        )

    def _give_back(self) -> None:
        assert self._worker is not None
        self._cluster.leave(self._worker)
