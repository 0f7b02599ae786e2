"""The rules as Prometheus reads them."""

from __future__ import annotations

from typing import Any, Final

import yaml

from monitoring.alerts import ALERTS, Alert
from monitoring.queries import RELEASE, for_rule
from monitoring.slos import SLOS, WINDOWS

RUNBOOKS: Final = "docs/operations.md"
"""The page of the runbooks. The chart puts the address of wherever it can be read in its place."""

RECORDS: Final = {
    "longvideo:model_replicas:count": 'count by (namespace, model, pool, gpus) (up{model!="",pool!="",gpus!=""})',
    "longvideo:model_replicas_ready:count": 'sum by (namespace, model, pool, gpus) (up{model!="",pool!="",gpus!=""})',
    "longvideo:model_gpus:sum": "sum by (namespace, model, pool) (longvideo:model_replicas:count{})"
    " * on (namespace, model, pool) max by (namespace, model, pool) (longvideo_model_gpus{})",
    "longvideo:model_gpus_busy:sum": "sum by (namespace, model, pool) (vllm:num_requests_running{} > bool 0)"
    " * on (namespace, model, pool) max by (namespace, model, pool) (longvideo_model_gpus{})",
    "longvideo:model_gpus:cost_per_hour": "longvideo:model_gpus:sum{}"
    " * on (namespace, pool) group_left (currency)"
    " max by (namespace, pool, currency) (longvideo_gpu_hour_price{})",
}
"""What is recorded for others and for dashboards: how many replicas of each model there are, those that are still
loading included, and how many answer; their GPUs, those that work on something, and what all of them cost an hour."""

_HEAD = f"""# Made by `make dashboards`: recording rules, service level objectives and alerts.
# They are for targets with the label namespace="{RELEASE}", in whose place the chart puts its release's own.
# Each alert's runbook is a section of {RUNBOOKS}.
"""


def text() -> str:
    """Returns the rules file."""
    groups = [
        {"name": "longvideo.records", "rules": [_record(name, query) for name, query in RECORDS.items()]},
        {
            "name": "longvideo.objectives",
            "rules": [_record(slo.record(window), slo.ratio(window)) for slo in SLOS for window in WINDOWS],
        },
        {"name": "longvideo.alerts", "rules": [_alert(alert) for alert in ALERTS]},
    ]
    return _HEAD + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _record(name: str, query: str) -> dict[str, Any]:
    return {"record": name, "expr": for_rule(query)}


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": for_rule(alert.query),
        "for": alert.lasts,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{RUNBOOKS}#{alert.name.lower()}",
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
