"""`make soak`: steady load without faults, and what every process takes meanwhile: it must not grow.

First come waves of as many questions as there is room for, each wave at once, to which all models answer at the same
moments: that fills the pools of threads and connections, which otherwise grow by one for hours whenever chance wants
it. Then memory, file descriptors, threads, and connections to the database and to Redis are sampled; after a warm-up of
a quarter of the time, the slope of each is the median of the slopes between all pairs of samples, which a few odd
samples do not move. A slope above its bound fails the run, unless all that grew is less than what comes and goes
anyway.

    python -m tests.chaos.soak --minutes 60
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from longvideo import errors
from longvideo.v1 import orchestrator_pb2 as pb
from tests.chaos.models import Brain
from tests.chaos.questions import Question, make_films, make_question
from tests.chaos.run import TENANTS, TIMING
from tests.chaos.stack import Stack
from tests.chaos.tenants import Tenant

WARM_UP = 0.25
EPISODES_PER_SECOND = 1.0
# Each wave is a job of every tenant about one film; together they are what the workers have room for.
WAVES, WAVE_SIZE = 6, 16
_STEP_SECONDS = 1.5
_READERS = 24
_CALL_SECONDS = 30.0


class Bound(NamedTuple):
    """How much of something a process may gain in an hour, and how much comes and goes anyway."""

    per_hour: float
    noise: float


BOUNDS = {
    "MiB": Bound(24.0, 12.0),
    "files": Bound(4.0, 8.0),
    "threads": Bound(4.0, 6.0),
    "database": Bound(2.0, 4.0),
    "redis": Bound(2.0, 4.0),
}

Samples = dict[tuple[str, str], list[tuple[float, float]]]


def main() -> int:
    """Runs for a while and prints the slopes. Exits with 1 when something grows, or is wrong."""
    parser = argparse.ArgumentParser(prog="tests.chaos.soak", description="Steady load, and what it takes.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    seconds = given.minutes * 60
    with contextlib.ExitStack() as cleanup:
        directory = Path(tempfile.mkdtemp(prefix="soak-"))
        cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        films, choose = make_films(directory, 6), random.Random(given.seed)
        count = round(seconds * EPISODES_PER_SECOND)
        questions = [make_question(number, choose.choice(films), choose) for number in range(1, count + 1)]
        waves = [
            [make_question(count + 1 + wave * 100 + number, film, choose) for number in range(len(TENANTS) * WAVE_SIZE)]
            for wave, film in zip(range(WAVES), films, strict=True)
        ]
        brain = Brain({each.id: each for each in itertools.chain(questions, *waves)}, given.seed, 0.05)
        stack = Stack(directory, brain, TIMING, TENANTS)
        cleanup.callback(stack.close)
        filling = [tenant for number, wave in enumerate(waves) for tenant in _fill(stack, brain, wave, -number - 1)]
        tenants = [
            Tenant(stack, name, questions[number :: len(TENANTS)], given.seed, seconds)
            for number, name in enumerate(TENANTS)
        ]
        for tenant in tenants:
            tenant.thread.start()
        samples = _sample(stack, seconds)
        for tenant in tenants:
            tenant.thread.join(120)
            tenant.stop()
        starts = {process.name: process.starts for process in stack.processes if process.starts > 1}
    wrong = sum(
        job.ended is None
        or [episode.answer for episode in job.ended.episodes] != [each.answer for each in job.questions]
        for tenant in (*filling, *tenants)
        for job in tenant.jobs
    )
    growing = list(_report(samples))
    print(f"{count} episodes in {given.minutes:g} min, {wrong} jobs wrong, ended by themselves: {starts or 'none'}")
    print("growing: " + (", ".join(growing) or "nothing"))
    return 1 if growing or wrong or starts else 0


def _fill(stack: Stack, brain: Brain, wave: list[Question], seed: int) -> list[Tenant]:
    """Has a wave of questions carried out, while others read the API as many at a time; returns its tenants."""
    began = time.monotonic()
    brain.march(_STEP_SECONDS)
    tenants = [
        Tenant(stack, name, wave[number :: len(TENANTS)], seed, 0.0, WAVE_SIZE) for number, name in enumerate(TENANTS)
    ]
    for tenant in tenants:
        tenant.thread.start()
    with contextlib.ExitStack() as cleanup, ThreadPoolExecutor(_READERS) as readers:
        connections = [stack.connect(number, TENANTS[0]) for number in range(2)]
        for channel, _ in connections:
            cleanup.callback(channel.close)
        while any(tenant.thread.is_alive() for tenant in tenants):
            list(readers.map(_read, [stub for _, stub in connections] * (_READERS // 2)))
            time.sleep(_STEP_SECONDS)
    for tenant in tenants:
        tenant.stop()
    brain.march(0.0)
    print(f"a wave of {len(wave)} episodes took {time.monotonic() - began:.0f} s", flush=True)
    return tenants


def _read(stub: Any) -> None:
    with contextlib.suppress(errors.Unavailable):  # it has not started yet
        stub.ListJobs(pb.ListJobsRequest(), timeout=_CALL_SECONDS)


def _sample(stack: Stack, seconds: float) -> Samples:
    samples: Samples = {}
    began, pause = time.monotonic(), max(1.0, seconds / 200)
    while (at := time.monotonic() - began) < seconds:
        if at > WARM_UP * seconds:
            for process in stack.processes:
                for what, value in _taken(process.pid, stack.postgres.port, stack.redis.port):
                    samples.setdefault((process.name, what), []).append((at / 3600, value))
        time.sleep(pause)
    return samples


def _taken(pid: int | None, postgres: int, redis: int) -> Iterator[tuple[str, float]]:
    """Yields what a process takes now; nothing when there is none."""
    try:
        folder = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        targets = [entry.readlink().name for entry in (folder / "fd").iterdir()]
        lines = [line.split() for line in (folder / "net/tcp").read_text().splitlines()[1:]]
    except OSError:  # it ended, or a descriptor was closed meanwhile
        return
    ports = {f"socket:[{line[9]}]": int(line[2].rpartition(":")[2], 16) for line in lines}
    connected = [ports.get(target) for target in targets]
    yield "MiB", int(status["VmRSS"].split()[0]) / 1024
    yield "threads", int(status["Threads"])
    yield "files", len(targets)
    yield "database", connected.count(postgres)
    yield "redis", connected.count(redis)


def _report(samples: Samples) -> Iterator[str]:
    """Prints every slope, and yields those that are too steep."""
    for (name, what), points in sorted(samples.items()):
        thinned = points[:: max(1, len(points) // 80)]
        slopes = [
            (later[1] - sooner[1]) / (later[0] - sooner[0]) for sooner, later in itertools.combinations(thinned, 2)
        ]
        slope = statistics.median(slopes) if slopes else 0.0
        grown, bound = slope * (points[-1][0] - points[0][0]), BOUNDS[what]
        is_steep = slope > bound.per_hour and grown > bound.noise
        print(
            f"{name:<10} {what:<9} {points[0][1]:7.0f} → {points[-1][1]:7.0f} {slope:+9.1f} per hour{' !' * is_steep}"
        )
        if is_steep:
            yield f"{what} of {name}"


if __name__ == "__main__":
    sys.exit(main())
