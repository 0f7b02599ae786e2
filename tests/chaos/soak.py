"""`make soak`: steady load without faults, and what every process takes meanwhile: it must not grow.

Memory, file descriptors, threads, and connections to the database and to Redis are sampled; after a warm-up of a
quarter of the time, the slope of each is the median of the slopes between all pairs of samples, which a few odd samples
do not move. A slope above its bound fails the run, unless all that grew is less than what comes and goes anyway.

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
from pathlib import Path
from typing import NamedTuple

from tests.chaos.models import Brain
from tests.chaos.questions import make_films, make_question
from tests.chaos.run import TENANTS, TIMING
from tests.chaos.stack import Stack
from tests.chaos.tenants import Tenant

WARM_UP = 0.25
EPISODES_PER_SECOND = 1.0


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
        brain = Brain({question.id: question for question in questions}, given.seed, 0.05)
        stack = Stack(directory, brain, TIMING, TENANTS)
        cleanup.callback(stack.close)
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
        for tenant in tenants
        for job in tenant.jobs
    )
    growing = list(_report(samples))
    print(f"{count} episodes in {given.minutes:g} min, {wrong} jobs wrong, ended by themselves: {starts or 'none'}")
    print("growing: " + (", ".join(growing) or "nothing"))
    return 1 if growing or wrong or starts else 0


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
