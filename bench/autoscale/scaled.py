"""The chart's own ScaledObjects, rendered by Helm's engine, as what rules over the pods."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from bench.autoscale.control import DOWN, UP, Activation, Horizontal, Policy, Rules, by_average
from bench.autoscale.day import Seen

CHART = Path(__file__).parents[2] / "charts" / "longvideo"
RELEASE = "bench"


@dataclass(frozen=True)
class Query:
    """A trigger that asks Prometheus: which of the things seen it is about, and how much of them a pod should have."""

    text: str
    threshold: float
    activation: float

    def value(self, seen: Seen) -> float | None:
        """Returns what Prometheus would answer; None for nothing."""
        if "vllm:num_requests_running" in self.text:
            return None if seen.running is None or seen.waiting is None else seen.running + seen.waiting
        if "longvideo_model_calls_in_flight" in self.text:
            return seen.in_flight + min(seen.failed_lately, 1)
        if "longvideo_episodes_waiting" in self.text:
            return seen.episodes
        raise ValueError(f"the bench knows no metric of the query {self.text}")

    def active(self, seen: Seen) -> bool | None:
        """Tells whether it keeps at least one pod; None when there is no answer."""
        value = self.value(seen)
        return None if value is None else value > self.activation


class Scaled:
    """A ScaledObject at work."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Takes a ScaledObject's `spec`."""
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self.triggers = tuple(_trigger(each) for each in spec["triggers"])
        self._horizontal = Horizontal(
            max(1, spec["minReplicaCount"]),
            spec["maxReplicaCount"],
            _rules(behavior.get("scaleUp", {}), UP),
            _rules(behavior.get("scaleDown", {}), DOWN),
        )
        self._activation = Activation(spec["minReplicaCount"], spec.get("cooldownPeriod", 300))
        self._polling, self._poll_time = spec["pollingInterval"], -math.inf

    def __call__(self, now: float, seen: Seen) -> int:
        """Returns how many pods there are from now on."""
        replicas = seen.replicas
        if now >= self._poll_time + self._polling:
            self._poll_time = now
            replicas = self._activation.decide(now, replicas, _any(each.active(seen) for each in self.triggers))
        if replicas != seen.replicas or not replicas:
            return replicas
        recommendations = []
        for each in self.triggers:
            value = each.value(seen)
            recommendations.append(None if value is None else by_average(value, each.threshold, replicas))
        return self._horizontal.decide(now, replicas, recommendations)


def _any(answers: Any) -> bool | None:
    known = list(answers)
    return True if True in known else None if None in known else False


def _trigger(trigger: Mapping[str, Any]) -> Query:
    metadata = trigger["metadata"]
    return Query(metadata["query"], float(metadata["threshold"]), float(metadata.get("activationThreshold", 0)))


def _rules(given: Mapping[str, Any], usual: Rules) -> Rules:
    policies = tuple(Policy(each["type"], each["value"], each["periodSeconds"]) for each in given.get("policies", ()))
    return Rules(given.get("stabilizationWindowSeconds", usual.window), policies or usual.policies)


def rendered(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the specs of the ScaledObjects that the chart makes of these values, by name without the release's."""
    texts: Mapping[str, str] = helm.Chart.load(CHART).render(dict(values), name=RELEASE, namespace="bench")
    found = {}
    for name, text in texts.items():
        for each in yaml.safe_load_all(text) if name.endswith("scaled-objects.yaml") else ():
            if each and each["kind"] == "ScaledObject":
                found[each["metadata"]["name"].removeprefix(f"{RELEASE}-longvideo-")] = each["spec"]
    return found


def setting(values: Mapping[str, Any], name: str) -> int:
    """Returns a number that the chart tells our processes."""
    texts: Mapping[str, str] = helm.Chart.load(CHART).render(dict(values), name=RELEASE, namespace="bench")
    (text,) = (each for path, each in texts.items() if path.endswith("/settings.yaml"))
    file: str = yaml.safe_load(text)["data"]["settings.toml"]
    return int(tomllib.loads(file)[name])


def thresholds(specs: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Returns a line for each ScaledObject: what rules over what."""
    lines = []
    for name, spec in sorted(specs.items()):
        (trigger,) = spec["triggers"]
        threshold = trigger["metadata"]["threshold"]
        lines.append(f"{name}: {spec['minReplicaCount']} to {spec['maxReplicaCount']} replicas, {threshold} for each")
    return lines
