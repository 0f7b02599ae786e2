"""Runs the telemetry bench: `python -m bench.telemetry`. Prints a table: what each way of tracing costs a worker.

The same episodes, of ten rounds, are carried out in this process with traces off, with all of them sent, with none but
errors sent, and with a collector that is away, one after the other and again and again, so that what else the machine
does falls on all alike. The models and services are scripted, and answer a hundred times as fast as real ones.
"""

from __future__ import annotations

import argparse
import logging
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import script, stack
from bench.load.profile import submit
from longvideo import settings, telemetry
from longvideo.settings import Settings
from orchestrator.store import Database
from orchestrator.wiring import make_runner
from tests.parts import free_port

_THREADS = 4


@dataclass(frozen=True)
class Taken:
    """What an episode took: milliseconds of CPU, and of time."""

    cpu: float
    wall: float


def ways(collector: int) -> Mapping[str, dict[str, Any]]:
    """Returns the settings of each way of tracing."""
    sent = {"otlp_endpoint": f"http://127.0.0.1:{collector}"}
    return {
        "off": {},
        "all sent": sent,
        "only errors sent": sent | {"trace_sample_ratio": 0.0},
        "all, collector away": {"otlp_endpoint": f"http://127.0.0.1:{free_port()}"},
    }


def measure(configured: Settings, url: str, episodes: int) -> Taken:
    """Carries episodes out, and returns what one took."""
    telemetry.configure(configured, "worker")
    database = Database(url)
    runner = make_runner(configured, database)
    submit(database, episodes)
    cpu, wall = time.process_time(), time.monotonic()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(runner.run, [lambda _: None] * _THREADS))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    runner.abandon()
    database.close()
    began = time.process_time()
    telemetry.shutdown()  # what is left to send belongs to the episodes
    return Taken(1000 * (cpu + time.process_time() - began) / episodes, 1000 * wall * _THREADS / episodes)


@contextmanager
def collector(directory: Path) -> Iterator[int]:
    """Gives the port of a collector that runs as a process."""
    log = directory / "collector"
    with stack.process([sys.executable, "-m", "bench.telemetry.collector"], {}, log=log):
        while not (said := log.read_text("utf-8")).endswith("\n"):
            time.sleep(0.05)
        yield int(said)


def main() -> int:
    """Measures what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry", description=__doc__)
    parser.add_argument("--episodes", type=int, default=16, help="how many are carried out at one time")
    parser.add_argument("--repeats", type=int, default=7, help="how often each way is measured")
    parser.add_argument("--scale", type=float, default=0.01, help="times every model's latency")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # that a collector is away is meant
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, stack.scripted(given.scale) as servers:
        directory = Path(name)
        with stack.database("sqlite", directory) as url, collector(directory) as port:
            stack.add_video(url)
            base = {**servers.settings(), "data_dir": directory}
            wanted = {way: settings.load(**base, **options) for way, options in ways(port).items()}
            taken = {way: list[Taken]() for way in wanted}
            measure(wanted["all sent"], url, given.episodes)  # everything is loaded and connected once
            for number in range(given.repeats):
                order = list(wanted)
                for way in order[number % len(order) :] + order[: number % len(order)]:
                    taken[way].append(measure(wanted[way], url, given.episodes))
    print(
        f"{given.repeats} times {given.episodes} episodes of {script.ROUNDS} rounds; medians, and medians of the "
        f"ratios to the run with traces off beside it; Python {platform.python_version()}"
    )
    print(f"{'traces':22} {'CPU ms/episode':>14} {'ratio':>7} {'wall ratio':>10} {'more, of real model time':>25}")
    for way, found in taken.items():
        print(row(way, found, taken["off"]))
    return 0


def row(way: str, found: list[Taken], off: list[Taken]) -> str:
    """Returns a line of the table."""
    pairs = list(zip(found, off, strict=True))
    cpu = statistics.median(one.cpu / base.cpu for one, base in pairs)
    wall = statistics.median(one.wall / base.wall for one, base in pairs)
    more = statistics.median(one.cpu - base.cpu for one, base in pairs) / 1000 / script.expected_seconds(1)
    median = statistics.median(one.cpu for one in found)
    return f"{way:22} {median:14.1f} {cpu:7.3f} {wall:10.3f} {100 * more:23.3f} %"


if __name__ == "__main__":
    sys.exit(main())
