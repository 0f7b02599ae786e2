"""What the rules say, and that each alert can be looked up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from promql_parser import VectorSelector, parse

from monitoring import rules
from monitoring.alerts import ALERTS
from monitoring.foreign import VLLM, VLLM_VERSION
from monitoring.slos import SLOS
from tests.promql import check, nodes

REPOSITORY = Path(__file__).parents[3]
RULES = [rule for group in yaml.safe_load(rules.text())["groups"] for rule in group["rules"]]
RECORDING = [rule for rule in RULES if "record" in rule]
ALERTING = [rule for rule in RULES if "alert" in rule]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("record") or rule["alert"])
def test_queries_make_sense(rule: dict[str, str]) -> None:
    """Each query parses, names metrics, labels and values that there are, and is about one release's namespace."""
    assert check(rule["expr"])
    selectors = [node for node in nodes(parse(rule["expr"])) if isinstance(node, VectorSelector)]
    assert all('namespace="longvideo"' in str(selector.matchers) for selector in selectors)


@pytest.mark.parametrize("alert", ALERTING, ids=lambda rule: rule["alert"])
def test_alerts_say_what_to_do(alert: dict[str, dict[str, str]]) -> None:
    """Each alert has a severity, a summary and a description, and its runbook is a section that there is."""
    page = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    assert alert["labels"]["severity"] in {"critical", "warning"}
    file, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert file == "docs/operations.md"
    sections = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"): title for title in _titles(page)}
    assert anchor in sections
    told = page.partition(f"### {sections[anchor]}\n")[2].partition("\n#")[0]
    assert all(word in told for word in ("**Means**", "**Users**", "**Do**")), told
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")


def test_every_runbook_is_of_an_alert() -> None:
    """The page has no section about an alert that there is not, and each alert has one name."""
    page = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    assert [title for title in _titles(page) if title.startswith("Longvideo")] == [alert.name for alert in ALERTS]
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


def test_labels_in_alerts_are_those_of_their_queries() -> None:
    """An alert speaks only of labels that its query leaves."""
    for rule in ALERTING:
        said = " ".join(rule["annotations"].values())
        left = set(re.findall(r"\$labels\.(\w+)", said))
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
        kept |= {label for slo in SLOS if slo.record("5m") in rule["expr"] for label in slo.labels}
        kept |= {"part", "instance"} if rule["expr"].startswith("up{") else set()
        kept |= {"model"} if "label_replace" in rule["expr"] else set()
        assert left <= kept, rule["alert"]


def test_the_chart_serves_the_vllm_whose_metrics_are_listed() -> None:
    """The names of vLLM's metrics are those of the minor version that the chart runs."""
    values = yaml.safe_load((REPOSITORY / "charts" / "longvideo" / "values.yaml").read_text("utf-8"))
    version = values["serving"]["image"].rpartition(":v")[2]
    assert version.split(".")[:2] == VLLM_VERSION.split(".")[:2]


def test_nothing_is_listed_in_vain() -> None:
    """Each metric of vLLM's that is listed is in some query."""
    from tests.unit.monitoring.test_dashboards import BOARDS, queries  # noqa: PLC0415

    used = " ".join(
        [*(rule["expr"] for rule in RULES), *(each for board in BOARDS.values() for each in queries(board))]
    )
    assert [name for name in VLLM if name not in used] == []


def _titles(page: str) -> list[str]:
    return re.findall(r"^#{2,4} (.+)$", page, re.MULTILINE)
