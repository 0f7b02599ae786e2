"""How many processors there are for this process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from longvideo.cpus import processors


@pytest.mark.parametrize(
    ("said", "share"), [("50000 100000", 1), ("100000 100000", 1), ("110000 100000", 2), ("1 100000", 1)]
)
def test_a_container_has_its_share(tmp_path: Path, said: str, share: int) -> None:
    """A quota of processor time counts, rounded up."""
    quota = tmp_path / "cpu.max"
    quota.write_text(said + "\n")
    assert processors(quota) == min(share, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("said", ["max 100000", "", "nonsense", "1 0 3"])
def test_without_a_quota_all_count(tmp_path: Path, said: str) -> None:
    """Where nothing is said about a share, the processors count that this process may run on."""
    quota = tmp_path / "cpu.max"
    quota.write_text(said)
    assert processors(quota) == processors(tmp_path / "missing") == len(os.sched_getaffinity(0))
