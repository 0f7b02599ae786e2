"""The values that the pages show: somebody will paste them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.chart.rendering import REPOSITORY, objects

SHOWN = [
    (page, number)
    for page in ("k8s/README.md", "docs/offline-clusters.md", "charts/longvideo/README.md")
    for number, _ in enumerate(re.findall(r"```yaml\n", (REPOSITORY / page).read_text("utf-8")))
]


def _shown(page: str, number: int) -> dict[str, Any]:
    """Returns the values that a page shows, with a digest in the place of one that it leaves out."""
    text = re.findall(r"```yaml\n(.+?)```", (REPOSITORY / page).read_text("utf-8"), re.DOTALL)[number]
    found: dict[str, Any] = yaml.safe_load(text.replace("sha256:…", "sha256:" + "4" * 64))
    return found


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Returns values with others laid over them, as Helm does."""
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        merged[key] = _over(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


@pytest.mark.parametrize(("page", "number"), SHOWN)
def test_shown_values_are_values(page: str, number: int) -> None:
    """Laid over the production values of k8s/README.md and its pools, what a page shows is accepted and rendered."""
    pools = yaml.safe_load((REPOSITORY / "k8s" / "pools" / "values.yaml").read_text("utf-8"))
    production = _over(pools, _shown("k8s/README.md", 0))
    kinds = [each["kind"] for each in objects(_over(production, _shown(page, number)))]
    assert "InferenceService" in kinds
    assert ("ScaledObject" in kinds) == ("autoscaling" in _shown(page, number))
