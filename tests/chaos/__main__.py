"""The command: `python -m tests.chaos`."""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.chaos.run import Plan, run, table


def main() -> int:
    """Runs once and prints the table. Exits with 1 unless all is well."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description="Hurts a whole stack and checks what is left.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000))
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--spread", type=float, default=360.0, help="seconds over which jobs are submitted")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two faults, on average")
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds after which what has not ended is lost")
    parser.add_argument("--only", action="append", help="a kind of fault; may be given several times")
    parser.add_argument("--keep", action="store_true", help="keeps the logs")
    given = parser.parse_args()
    result = run(
        Plan(
            seed=given.seed,
            episodes=given.episodes,
            spread=given.spread,
            pause=given.pause,
            limit=given.limit,
            kinds=tuple(given.only) if given.only else None,
            keep=given.keep,
        )
    )
    print(table(result))
    return 0 if result.findings.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
