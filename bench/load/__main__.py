"""Runs the load bench: `python -m bench.load`. Prints a table, and what ran where."""

from __future__ import annotations

import argparse
import platform
import sys

from bench.load import api, episodes, script, stack

_LIMIT = 0.05
"""The share of an episode's model time that its worker may add."""


def main() -> int:
    """Measures what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--concurrent", type=int, nargs="+", default=[50, 100, 200, 300, 400, 600])
    parser.add_argument("--databases", nargs="+", choices=("postgresql", "sqlite"), default=["postgresql"])
    parser.add_argument("--scale", type=float, default=1.0, help="times every model's latency; figures need 1")
    parser.add_argument("--lengths", type=float, default=1.0, help="how long to measure, in lengths of an episode")
    parser.add_argument("--api-seconds", type=float, default=10.0, help="how long each kind of API call is measured")
    given = parser.parse_args()
    worker, others = stack.pin()
    print(f"worker on core {worker}; models, services, database, broker, API and this process on {others}")
    print(
        f"models: reason {script.REASON.mean} s, caption {script.CAPTION.mean} s, clip {script.CLIP.mean} s, times "
        f"{given.scale:g}; {script.ROUNDS} rounds, width {script.WIDTH}; {script.expected_seconds(given.scale):.0f} s "
        f"an episode; Python {platform.python_version()}"
    )
    for kind in given.databases:
        print(f"{kind}\n{episodes.HEADING}")
        calls, carried = list[str](), 0
        for concurrent in given.concurrent:
            with stack.running(kind, min(1024, concurrent * 3 // 2 + 20), given.scale, worker) as system:
                result = episodes.measure(system, concurrent, given.scale, given.lengths)
                print(result.row(), flush=True)
                carried = max(carried, concurrent if result.overhead < _LIMIT else 0)
                calls = calls or api.measure(system, given.api_seconds)
        print(f"{carried} concurrent episodes, the most that were tried with less than {100 * _LIMIT:.0f} % added")
        print("\n".join([f"the API, {api.CALLERS} callers and {api.WATCHERS} watchers", api.HEADING, *calls]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
