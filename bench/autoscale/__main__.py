"""Runs the simulated day: `python -m bench.autoscale`. Prints a table, the same one on every machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.autoscale import arrivals, scaled, strategies
from bench.autoscale.day import Result

_HEADING = """| replicas | people waited: median | 95 % | 99 % | batches: median | 95 % | GPU-hours | replicas started |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def main() -> int:
    """Compares what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m bench.autoscale", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another day")
    parser.add_argument("--load", type=float, default=1.0, help="times the questions")
    parser.add_argument("--reasoner-seconds", type=float, default=180, help="how long a replica of it takes to load")
    parser.add_argument("--vision-seconds", type=float, default=420, help="how long a replica of it takes to load")
    given = parser.parse_args()
    questions = arrivals.day(given.seed, given.load)
    load = {strategies.REASONER: given.reasoner_seconds, strategies.VISION: given.vision_seconds}
    values = strategies.values()
    mean = sum(each.seconds for each in questions) / len(questions)
    print(f"{len(questions):,} questions, {mean:.0f} s each where nothing waits")
    print("\n".join(["", _HEADING]))
    for name, result in strategies.compare(questions, load, scaled.setting(values, "episode_concurrency")):
        print(row(name, result), flush=True)
    print("\n".join(["", "Ours, as the chart renders it:", *scaled.thresholds(scaled.rendered(values))]))
    return 0


def row(name: str, result: Result) -> str:
    """Returns a row of the table."""
    cells = [_at(result.waits, share) for share in (0.5, 0.95, 0.99)]
    cells += [_at(result.batch_waits, share) for share in (0.5, 0.95)]
    return f"| {name} | {' | '.join(cells)} | {result.gpu_hours:.0f} | {result.starts} |"


def _at(waits: Sequence[float], share: float) -> str:
    return f"{waits[int(share * len(waits))]:,.0f} s"


if __name__ == "__main__":
    sys.exit(main())
