"""Prometheus's own word on the rules: promtool reads them, and replays the days that rules/*.yaml describe."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring import __main__ as files
from monitoring.alerts import ALERTS
from monitoring.rules import RECORDS
from monitoring.slos import SLOS
from tests.parts.prometheus import PROMTOOL, needs_promtool

RULES = Path(__file__).parent / "rules"
DAYS = sorted(RULES.glob("*.yaml"))


def promtool(*arguments: str) -> None:
    """Runs promtool, and fails with what it says when it is not content."""
    done = subprocess.run([PROMTOOL, *arguments], cwd=RULES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_rules_can_be_loaded() -> None:
    """Promtool finds nothing wrong with the chart's rules."""
    promtool("check", "rules", str(files.FILES / "rules.yaml"))


@needs_promtool
def test_the_queries_of_dashboards_can_be_asked(tmp_path: Path) -> None:
    """Prometheus's own parser reads each query of each dashboard."""
    queries = [
        target["expr"].replace("$__rate_interval", "5m").replace("$__range", "6h")
        for name, text in files.made().items()
        if name.endswith(".json")
        for panel in json.loads(text)["panels"]
        for target in panel.get("targets", [])
    ]
    records = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": records}]}))
    promtool("check", "rules", str(rules))


@needs_promtool
@pytest.mark.parametrize("day", DAYS, ids=lambda day: day.stem)
def test_alerts_fire_when_they_should(day: Path) -> None:
    """In what the file describes, these alerts fire at these moments and not at those, with these words."""
    promtool("test", "rules", day.name)


def test_every_alert_fires_somewhere() -> None:
    """Each alert is seen to fire in some file, and each record is seen to be right."""
    tests: list[dict[str, Any]] = [test for day in DAYS for test in yaml.safe_load(day.read_text("utf-8"))["tests"]]
    asked = [each for test in tests for each in test.get("promql_expr_test", [])]
    seen = " ".join(f"{each['expr']} {each['exp_samples']}" for each in asked if each["exp_samples"])
    told = {each["alertname"] for test in tests for each in test.get("alert_rule_test", []) if each.get("exp_alerts")}
    assert [alert.name for alert in ALERTS if alert.name not in seen and alert.name not in told] == []
    assert [name for name in RECORDS if name not in seen] == []
    assert [slo.name for slo in SLOS if f"longvideo:{slo.name}:ratio_rate" not in seen] == []
