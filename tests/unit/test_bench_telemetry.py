"""What the telemetry bench says about what it measured."""

from __future__ import annotations

from bench.load import script
from bench.telemetry.__main__ import Taken, row, ways


def test_a_way_is_compared_with_the_run_beside_it() -> None:
    """Ratios are those of runs that were made one after the other, so that a slow minute weighs on both alike."""
    off = [Taken(100, 500), Taken(300, 1500), Taken(100, 500)]
    found = [Taken(110, 500), Taken(330, 1500), Taken(150, 510)]
    more = 100 * 0.030 / script.expected_seconds(1)
    assert row("all sent", found, off).split() == ["all", "sent", "150.0", "1.100", "1.000", f"{more:.3f}", "%"]


def test_traces_are_off_in_one_way_only() -> None:
    """All other ways of tracing have a collector, one of which is not there."""
    found = ways(4317)
    endpoints = [options.get("otlp_endpoint") for options in found.values()]
    assert endpoints[:3] == [None, "http://127.0.0.1:4317", "http://127.0.0.1:4317"]
    assert endpoints[3] not in endpoints[:3]
    assert found["only errors sent"]["trace_sample_ratio"] == 0
