"""Whether a query of Prometheus makes sense: that it parses, and names metrics, labels and values that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import promql_parser

from longvideo import metrics
from longvideo.declared import DECLARED
from longvideo.usage import OUTCOMES, ROLES
from monitoring.foreign import KUBE, MODEL_LABELS, OUR_LABELS, PROCESS, PROMETHEUS, TARGET_LABELS, VLLM
from monitoring.rules import RECORDS
from monitoring.slos import SLOS, WINDOWS

_ENDS: Final = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
_VALUES: Final[dict[tuple[str, str], set[str]]] = {
    ("longvideo_episodes_total", "ending"): set(metrics.ENDINGS),
    ("longvideo_episode_seconds", "ending"): set(metrics.ENDINGS),
    ("longvideo_episode_rounds", "ending"): set(metrics.ENDINGS),
    ("longvideo_model_calls_total", "outcome"): set(OUTCOMES),
    ("longvideo_model_calls_total", "role"): set(ROLES),
    ("longvideo_media_tasks_total", "outcome"): {"ok"},
    ("longvideo_captions_total", "result"): {"cached", "made", "failed"},
    ("longvideo_beat_messages_total", "result"): {"sent", "held", "failed"},
    ("longvideo_episode_coverage_ratio", "share"): set(metrics.SHARES),
    ("longvideo_episode_wait_seconds", "priority"): set(metrics.PRIORITIES),
    ("longvideo_episode_wait_seconds", "le"): {str(float(each)) for each in metrics.WAIT_SECONDS},
    ("longvideo_oldest_waiting_episode_seconds", "priority"): set(metrics.PRIORITIES),
    ("up", "part"): set(metrics.PARTS),
}


def _series() -> dict[str, frozenset[str]]:
    """Returns every name of a series that there can be, with its labels."""
    found: dict[str, frozenset[str]] = {}
    for declared in DECLARED.values():
        for end in _ENDS[declared.kind]:
            labels = frozenset(declared.labels) | OUR_LABELS
            found[declared.name + end] = labels | {"le"} if end == "_bucket" else labels
    for others, target in ((VLLM, MODEL_LABELS), (KUBE, TARGET_LABELS), (PROCESS, OUR_LABELS)):
        for name, (kind, labels) in others.items():
            for end in _ENDS[kind]:
                found[name + end] = labels | target | ({"le"} if end == "_bucket" else frozenset())
    for name, (_, labels) in PROMETHEUS.items():
        found[name] = labels | OUR_LABELS | MODEL_LABELS
    for name in RECORDS:
        labels = {"replicas": {"gpus"}, "per_hour": {"currency"}}
        more = (label for word, own in labels.items() if word in name for label in own)
        found[name] = frozenset(("namespace", "model", "pool", *more))
    for slo in SLOS:
        for window in WINDOWS:
            found[slo.record(window)] = frozenset(slo.labels)
    return found


SERIES: Final = _series()


def check(query: str) -> set[str]:
    """Returns the names that a query is about. Fails where there is no such thing."""
    for variable, value in (("$__rate_interval", "5m"), ("$__range", "6h")):
        query = query.replace(variable, value)
    tree = promql_parser.parse(query)
    names, labels = set[str](), set[str]()
    for node in nodes(tree):
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name in SERIES, f"there is no metric {node.name}: {query}"
            names.add(node.name)
            labels |= SERIES[node.name]
            for matcher in node.matchers.matchers:
                _check_matcher(node.name, matcher, query)
        elif isinstance(node, promql_parser.Call) and node.func.name == "label_replace":
            labels.add(node.args[1].val)
    for node in nodes(tree):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= labels, f"{node.modifier} names a label that nothing has: {query}"
    return names


def nodes(tree: promql_parser.Expr) -> Iterator[promql_parser.Expr]:
    """Returns all that a query is made of."""
    found: list[promql_parser.Expr] = []
    promql_parser.walk(tree, found.append)
    return iter(found)


def _check_matcher(name: str, matcher: promql_parser.Matcher, query: str) -> None:
    assert matcher.name in SERIES[name], f"{name} has no label {matcher.name}: {query}"
    declared = re.sub(r"_(bucket|sum|count)$", "", name)
    known = _VALUES.get((declared, matcher.name)) or _VALUES.get((name, matcher.name))
    if known is None or "$" in matcher.value or not matcher.value:
        return
    for value in matcher.value.split("|"):
        assert value in known, f"{name} never has {matcher.name}={value!r}, but {sorted(known)}: {query}"
