"""A short run of `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.run import Plan, run, table

KINDS = ("SIGKILL worker", "PostgreSQL restarted", "Redis flushed", "S3 503", "models cut off", "SIGKILL qa_svc")


@pytest.mark.timeout(400)
def test_nothing_is_lost_and_nothing_is_done_twice() -> None:
    """Thirty episodes end with the right answers, while one thing after the other goes wrong."""
    plan = Plan(seed=5, episodes=30, spread=6.0, pause=1.0, limit=300.0, films=2, workers=2, kinds=KINDS)
    result = run(plan)
    assert result.findings.is_well, table(result)
    assert result.findings.episodes == plan.episodes
    assert sum(result.injected.values()) > 0
