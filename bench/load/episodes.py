"""Keeping so many episodes under way, and what they then cost.

Episodes arrive at an even rate, such that `concurrent` of them are under way once the first have ended. The overhead of
one is the time it took beyond its critical path: the longest of its opening's captions, then each reply and each tool,
as the scripted servers measured them.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa

from bench.load import script
from bench.load.stack import VIDEO, Stack, channel, cpu_seconds
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from orchestrator.tables import CallRow, EpisodeRow, RoundRow

_QUESTIONS = 2
"""To a job."""


@dataclass(frozen=True)
class Result:
    """What was found: shares of model time, seconds, and CPU milliseconds."""

    concurrent: int
    under_way: float
    episodes: int
    overheads: list[float]
    waits: list[float]
    rounds_per_second: float
    cpu_share: float
    cpu_ms: float
    others: dict[str, float]

    @property
    def overhead(self) -> float:
        """The median episode's overhead."""
        return statistics.median(self.overheads)

    def row(self) -> str:
        """Returns a line of the table."""
        wait = self.waits
        busiest = max(self.others, key=self.others.__getitem__)
        return (
            f"{self.concurrent:10} {self.under_way:9.0f} {self.episodes:8} {self.rounds_per_second:8.1f} "
            f"{100 * self.overhead:8.2f} {100 * p95(self.overheads):8.2f} {1000 * statistics.median(wait):8.0f} "
            f"{1000 * p95(wait):8.0f} {100 * self.cpu_share:7.1f} {self.cpu_ms:7.2f}  "
            f"{busiest} {100 * self.others[busiest]:.0f} %"
        )


HEADING = (
    f"{'concurrent':>10} {'under way':>9} {'episodes':>8} {'rounds/s':>8} {'over %':>8} {'p95 %':>8} {'start ms':>8} "
    f"{'p95 ms':>8} {'CPU %':>7} {'ms/rnd':>7}  busiest of the others"
)


def p95(values: list[float]) -> float:
    """Returns the value that one in twenty exceeds."""
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def measure(stack: Stack, concurrent: int, scale: float, lengths: float) -> Result:
    """Submits episodes until the system is full, and for `lengths` of an episode more; measures in that time."""
    length = script.expected_seconds(scale)
    stub = OrchestratorServiceStub(channel(stack.api))
    next(stub.WatchJob(pb.WatchJobRequest(name=submit(stub).name), timeout=120))  # the worker has started
    began = time.time()
    full, over = began + 1.1 * length, began + (1.1 + lengths) * length
    gap, number = length / concurrent * _QUESTIONS, 0
    usage: list[tuple[float, dict[str, float]]] = []
    while (now := time.time()) < over:
        if now >= full and not usage:
            usage.append((now, _usage(stack)))
        if now >= began + number * gap:
            submit(stub)
            number += 1
        else:
            time.sleep(min(gap, began + number * gap - now))
    usage.append((time.time(), _usage(stack)))
    print(f"  {concurrent} concurrent: measured", file=sys.stderr, flush=True)
    return _result(stack, concurrent, usage)


def submit(stub: OrchestratorServiceStub) -> pb.Job:
    """Submits a job of two questions."""
    job = pb.Job(video=str(VIDEO), questions=[pb.Question(text="What is written on the document?")] * _QUESTIONS)
    submitted: pb.Job = stub.SubmitJob(pb.SubmitJobRequest(job=job), timeout=30)
    return submitted


def _usage(stack: Stack) -> dict[str, float]:
    return {name: cpu_seconds(pid) for name, pid in {"worker": stack.worker.pid, **stack.others}.items()}


def _result(stack: Stack, concurrent: int, usage: list[tuple[float, dict[str, float]]]) -> Result:
    (since, before), (until, after) = usage
    spent = {name: (after[name] - before[name]) / (until - since) for name in before}
    engine = sa.create_engine(stack.database_url)
    with engine.connect() as connection:
        finished = RoundRow.end_time.between(since, until)
        rounds = connection.execute(sa.select(sa.func.count()).where(finished)).scalar_one()
        # Under way in the middle of the time, and ended by its end.
        started = EpisodeRow.start_time.is_not(None)
        middle = (since + until) / 2
        ended_after = sa.or_(EpisodeRow.end_time.is_(None), EpisodeRow.end_time > middle)
        under_way = connection.execute(
            sa.select(sa.func.count()).where(started, EpisodeRow.start_time < middle, ended_after)
        ).scalar_one()
        columns = (EpisodeRow.job_id, EpisodeRow.number, EpisodeRow.create_time)
        columns_of_time = (EpisodeRow.start_time, EpisodeRow.end_time, EpisodeRow.state)
        query = sa.select(*columns, *columns_of_time).where(EpisodeRow.end_time.between(since, until))
        episodes = connection.execute(query).all()
        model = _model_seconds(connection, stack.models.served())
    engine.dispose()
    if any(row.state != "answered" for row in episodes) or not episodes:
        raise RuntimeError(f"not every episode was answered: {[row.state for row in episodes][:10]}")
    paths = [model[row.job_id, row.number] for row in episodes]
    share = spent.pop("worker")
    return Result(
        concurrent=concurrent,
        under_way=under_way,
        episodes=len(episodes),
        overheads=[(row.end_time - row.start_time - path) / path for row, path in zip(episodes, paths, strict=True)],
        waits=[row.start_time - row.create_time for row in episodes],
        rounds_per_second=rounds / (until - since),
        cpu_share=share,
        cpu_ms=1000 * share * (until - since) / rounds,
        others=spent,
    )


def _model_seconds(connection: sa.Connection, served: dict[str, float]) -> dict[tuple[str, int], float]:
    """Returns the seconds of every episode's critical path."""
    opening: dict[tuple[str, int], float] = defaultdict(float)
    then: dict[tuple[str, int], float] = defaultdict(float)
    query = sa.select(CallRow.job_id, CallRow.episode, CallRow.round, CallRow.role, CallRow.id, CallRow.seconds)
    for row in connection.execute(query):
        place = (row.job_id, row.episode)
        if row.round is None:
            opening[place] = max(opening[place], row.seconds)
        else:
            then[place] += served.get(row.id, row.seconds)
    return {place: opening[place] + then[place] for place in then}
