"""Upgrades from the release before: its values still mean something, and nothing that cannot be changed is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart.immutable import facts
from tests.chart.rendering import CASES, REPOSITORY, objects, of_kind

RELEASED: dict[str, Any] = json.loads((REPOSITORY / "tests" / "chart" / "released.json").read_text("utf-8"))


@pytest.mark.parametrize("case", sorted(RELEASED["cases"]))
def test_what_cannot_be_changed_stays(case: str) -> None:
    """With the same values every object of the release before is there again, with the same immutable fields."""
    before = RELEASED["cases"][case]
    after = facts(objects(before["values"]))
    assert {name: after.get(name) for name in before["facts"]} == before["facts"]


@pytest.mark.parametrize("case", CASES)
def test_jobs_are_made_anew(case: str) -> None:
    """A Job, whose pods cannot be changed, is a hook that replaces the one before."""
    for job in of_kind(case, "Job"):
        annotations = job["metadata"]["annotations"]
        assert "before-hook-creation" in annotations["helm.sh/hook-delete-policy"]


@pytest.mark.parametrize("case", CASES)
def test_nothing_keeps_data(case: str) -> None:
    """The chart has no object whose loss or replacement would lose data: an upgrade may replace any of them."""
    assert of_kind(case, "StatefulSet", "PersistentVolumeClaim", "PersistentVolume", "Secret") == []
