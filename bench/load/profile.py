"""Where the worker's CPU goes: episodes carried out under a profiler, by what the functions belong to.

    python -m bench.load.profile

Every thread is profiled on a clock of its own CPU time, so waiting costs nothing. The time of the standard library and
of built-in functions belongs to whoever called them. A profiler makes small functions dearer than they are: the shares
say where to look, and the bench says what it brought.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa

from bench.load import script, stack
from longvideo.auth import DEFAULT_TENANT
from longvideo.settings import Settings
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import traces
from orchestrator.store import Database
from orchestrator.wiring import make_runner

_EPISODES, _THREADS, _SCALE = 40, 8, 0.01

_GROUPS = {
    "/grpc/": "gRPC",
    "/sqlalchemy/": "SQLAlchemy",
    "/psycopg": "database driver",
    "sqlite3": "database driver",
    "/google/protobuf/": "protobuf",
    "google._upb": "protobuf",
    "/openai/": "openai client",
    "/pydantic": "openai client",
    "/httpx2/": "HTTP",
    "/httpcore2/": "HTTP",
    "/longvideo/transport.py": "HTTP",
    "/json/": "JSON",
    "_json": "JSON",
    "/jinja2/": "templates",
    "/celery/": "Celery",
    "/kombu/": "Celery",
    "/logging/": "logging",
    "/longvideo/": "ours",
    "/orchestrator/": "ours",
}

Function = tuple[str, int, str]


def profiled(work: Any) -> tuple[pstats.Stats, float]:
    """Runs `work` with every thread profiled; returns the statistics and the CPU seconds of the process."""
    profiles: list[cProfile.Profile] = []

    def start(_frame: FrameType | None, _event: str, _argument: object) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.enable()

    threading.setprofile(start)
    began = time.process_time()
    work()
    spent = time.process_time() - began
    threading.setprofile(None)
    stats = pstats.Stats(profiles[0])
    for profile in profiles[1:]:
        stats.add(profile)
    return stats, spent


def grouped(stats: pstats.Stats) -> dict[str, float]:
    """Returns the seconds of each group."""
    table: dict[Function, Any] = stats.stats  # type: ignore[attr-defined]
    seconds: dict[str, float] = defaultdict(float)
    for function, (_, _, own, _, callers) in table.items():
        for group, share in _owners(table, function, callers, 6).items():
            seconds[group] += own * share
    return seconds


def _owners(table: dict[Function, Any], function: Function, callers: Any, depth: int) -> dict[str, float]:
    """Returns to whom a function's time belongs, in shares that sum up to one."""
    where = f"{function[0]} {function[2]}"
    for part, group in _GROUPS.items():
        if part in where:
            return {group: 1.0}
    total = sum(caller[3] for caller in callers.values())
    if not depth or not total:
        return {"other": 1.0}
    shares: dict[str, float] = defaultdict(float)
    for caller, (_, _, _, spent) in callers.items():
        for group, share in _owners(table, caller, table[caller][4], depth - 1).items():
            shares[group] += share * spent / total
    return shares


def main() -> int:
    """Prints the groups, and the functions that take the most."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.profile", description=__doc__)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--sort", choices=("tottime", "cumtime"), default="tottime")
    parser.add_argument("--functions", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, stack.scripted(_SCALE) as servers:
        directory = Path(name)
        with stack.database(given.database, directory) as url:
            stack.add_video(url)
            database = Database(url)
            runner = make_runner(Settings(**servers.settings(), data_dir=directory), database)
            submit(database, _EPISODES)

            def work() -> None:
                with ThreadPoolExecutor(_THREADS) as pool:
                    list(pool.map(runner.run, [lambda _: None] * _THREADS))
                runner.abandon()

            statements = Counter[str]()

            def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
                statements[statement.split(maxsplit=1)[0]] += 1

            sa.event.listen(database.engine.sqlalchemy, "before_cursor_execute", count)
            sa.event.listen(database.engine.sqlalchemy, "commit", lambda _: statements.update(["transactions"]))
            stats, spent = profiled(work)
            database.close()
    rounds = _EPISODES * script.ROUNDS
    seconds = grouped(stats)
    total = sum(seconds.values())
    told = ", ".join(f"{count / _EPISODES:g} {name}" for name, count in statements.most_common() if name != "BEGIN")
    print(f"to an episode of {script.ROUNDS} rounds: {told}")
    print(
        f"{1000 * spent / rounds:.1f} ms of CPU a round, profiled; {100 * total / spent:.0f} % of it in Python threads"
    )
    for group, taken in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"{group:16} {1000 * taken / rounds:7.2f} ms {100 * taken / total:5.1f} %")
    stats.sort_stats(given.sort).print_stats(given.functions)
    return 0


def submit(database: Database, episodes: int) -> None:
    """Submits so many jobs of one question."""
    questions = [pb.Question(text="What is written on the document?")]
    spec = pb.Job(video=str(stack.VIDEO), questions=questions)
    spec.limits.max_rounds, spec.limits.max_duration.seconds = 30, 3600
    for _ in range(episodes):
        database.jobs.submit(
            spec,
            tenant=DEFAULT_TENANT,
            video_id=stack.VIDEO.video_id,
            tree_width=script.WIDTH,
            request_id="",
            fingerprint="",
            traces=traces.submitted,
        )


if __name__ == "__main__":
    sys.exit(main())
