"""What the doctor sees of the nodes: whether each model finds the GPUs that it asks for, and what time it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from client import words
from client.cluster.access import Kubernetes, Object
from client.cluster.findings import Finding
from client.cluster.release import CORE, Model, Release

_ORDINARY: Final = {"cpu", "memory", "ephemeral-storage"}
_LEASES: Final = "/apis/coordination.k8s.io/v1"
_AHEAD_SECONDS: Final = 5.0
_BEHIND_SECONDS: Final = 90.0
"""A node renews its lease every ten seconds, and is given up after forty: one older than this has another reason."""


def gpus(kubernetes: Kubernetes, release: Release) -> Iterator[Finding]:
    """Finds for each model the nodes that it may run on."""
    if not release.models:
        yield Finding("nodes", "skipped", "no model of this release asks for GPUs")
        return
    nodes = kubernetes.items(CORE, "nodes", namespace="")
    for model in release.models:
        yield _place(model, nodes)


def _place(model: Model, nodes: Sequence[Object]) -> Finding:
    wanted = {name: int(count) for name, count in model.resources.items() if name not in _ORDINARY}
    selector: dict[str, str] = model.pod.get("nodeSelector") or {}
    who = f"{model.key} in {model.pool}"
    labelled = [node for node in nodes if selector.items() <= (node["metadata"].get("labels") or {}).items()]
    labels = ", ".join(f"{name}={value}" for name, value in sorted(selector.items()))
    if not labelled:
        known = sorted({value for node in nodes for name, value in (node["metadata"].get("labels") or {}).items()
                        if name in selector})  # fmt: skip
        others = f"; nodes have {', '.join(known)} there" if known else ""
        label = f"kubectl label node NODE {labels.replace(', ', ' ')}"
        fix = f"{label}, or mend pools.{model.pool}.nodeSelector in the values"
        return Finding("nodes", "failed", f"{who}: no node has the label {labels}{others}", fix)
    fitting = [node for node in labelled if _has(node, wanted)]
    if not fitting:
        asked = ", ".join(f"{count} {name}" for name, count in wanted.items())
        have = ", ".join(f"{node['metadata']['name']} has {_told(node, wanted)}" for node in labelled[:3])
        fix = (
            "install the GPU operator (k8s/README.md), which makes nodes tell their GPUs; for MIG slices or other "
            f"cards set pools.{model.pool}.gpuResource; no replica can have more GPUs than one node "
            f"(models.{model.key}.gpus)"
        )
        return Finding("nodes", "failed", f"{who} asks for {asked} on one node; {have}", fix)
    usable = [node for node in fitting if _usable(node, model.pod.get("tolerations") or [])]
    if not usable:
        why = ", ".join(
            f"{node['metadata']['name']} {_why_not(node, model.pod.get('tolerations') or [])}" for node in fitting
        )
        tolerate = f"tolerate its taints in pools.{model.pool}.tolerations"
        fix = f"make a node usable again (kubectl uncordon NODE), or {tolerate}"
        return Finding("nodes", "failed", f"{who}: its nodes cannot be used: {why}", fix)
    return Finding("nodes", "ok", f"{who}: {words.plural(len(usable), 'node')} with {labels or 'what it asks for'}")


def _has(node: Object, wanted: Mapping[str, int]) -> bool:
    there = node.get("status", {}).get("allocatable") or {}
    return all(int(there.get(name, 0)) >= count for name, count in wanted.items())


def _told(node: Object, wanted: Mapping[str, int]) -> str:
    there = node.get("status", {}).get("allocatable") or {}
    return ", ".join(f"{there.get(name, 'no')} {name}" for name in wanted)


def _usable(node: Object, tolerations: Sequence[Mapping[str, Any]]) -> bool:
    return not _why_not(node, tolerations)


def _why_not(node: Object, tolerations: Sequence[Mapping[str, Any]]) -> str:
    """Returns why a node takes no such pod; empty when it does."""
    conditions = node.get("status", {}).get("conditions") or []
    if not any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
        return "is not ready"
    if node["spec"].get("unschedulable"):
        return "is cordoned"
    for taint in node["spec"].get("taints") or []:
        hard = taint["effect"] in {"NoSchedule", "NoExecute"}
        if hard and not any(_tolerates(each, taint) for each in tolerations):
            return f"has the taint {taint['key']}={taint.get('value', '')}:{taint['effect']}"
    return ""


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in {None, "", taint["effect"]}:
        return False
    if toleration.get("key") in {None, ""}:
        return toleration.get("operator") == "Exists"
    same = toleration["key"] == taint["key"]
    return same and (toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))


def node_clocks(kubernetes: Kubernetes) -> Iterator[Finding]:
    """Compares what time it is at each node, by the lease that it renews all the time, with the cluster's time."""
    now = time.time() - kubernetes.ahead
    leases = kubernetes.items(_LEASES, "leases", namespace="kube-node-lease")
    wrong = 0
    for lease in leases:
        renewed = datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp()
        name, ahead = lease["metadata"]["name"], renewed - now
        if ahead > _AHEAD_SECONDS:
            wrong += 1
            yield Finding("clocks", "failed", f"the clock of the node {name} is {ahead:.0f} s ahead", _NTP)
        elif ahead < -_BEHIND_SECONDS:
            wrong += 1
            said = (
                f"the node {name} last gave a sign {-ahead:.0f} s ago by its own clock: it is down, or that is behind"
            )
            yield Finding("clocks", "failed", said, _NTP)
    if not wrong:
        yield Finding("clocks", "ok", f"{words.plural(len(leases), 'node')} with the cluster's time")


_NTP: Final = "let NTP (chrony) run on the node; signed requests to S3 and certificates are refused by wrong clocks"
