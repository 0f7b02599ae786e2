"""The ways to run the same day that are compared, and what the pods are assumed to be like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.autoscale import scaled
from bench.autoscale.arrivals import Question
from bench.autoscale.control import Horizontal, by_utilization
from bench.autoscale.day import WORKERS, Cluster, Result, Ruler, Seen, Shape

REASONER, VISION = "reasoner-h800", "vision-h800"
_MOST = {REASONER: 4, VISION: 12}

_CPU_ASKED, _CPU_TARGET = 4.0, 0.8
"""The cores that the chart asks for, and the share of them that KServe scales by where nothing else is said."""
_CPU_IDLE, _CPU_BUSY = 0.2, 1.0
"""Cores of a vLLM pod: with nothing to do, and what its loop takes as soon as there is anything to do."""
_CPU_CALL = {REASONER: 0.02, VISION: 0.15}
"""Cores for each request beside that, for its words and its pictures: more rather than less."""


def shapes(load: Mapping[str, float], slots: int) -> dict[str, Shape]:
    """Returns what the pods are like, given how long each model loads, and how many episodes a worker has room for.

    Memory allows for some 16 conversations on one GPU, and 8 captions on two, at the speed of one.
    """
    return {
        WORKERS: Shape(frozenset(), places=slots, start_seconds=20),
        REASONER: Shape(frozenset(("reason",)), places=16, start_seconds=load[REASONER], gpus=1),
        VISION: Shape(frozenset(("caption", "qa")), places=8, start_seconds=load[VISION], gpus=2),
    }


def values(least: int = 1) -> dict[str, Any]:
    """Returns values of the chart, with so many replicas of each model at least."""

    def model(name: str) -> dict[str, Any]:
        return {"minReplicas": least, "maxReplicas": _MOST[name]}

    return {
        "profile": "qwen3",
        "database": {"existingSecret": "database"},
        "broker": {"existingSecret": "broker"},
        "objectStore": {"url": "s3://bucket"},
        "tls": {"existingSecret": "certificates"},
        "pools": {"h800": {}},
        "models": {"reasoner": {"storageUri": "pvc://weights/r1", **model(REASONER)}, "vision": model(VISION)},
        "autoscaling": {"enabled": True, "prometheusAddress": "http://prometheus:9090"},
    }


class _Fixed:
    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def __call__(self, _now: float, _seen: Seen) -> int:
        return self._replicas


class _ByCpu:
    """KServe's own HorizontalPodAutoscaler."""

    def __init__(self, name: str) -> None:
        self._call = _CPU_CALL[name]
        self._horizontal = Horizontal(1, _MOST[name])

    def __call__(self, now: float, seen: Seen) -> int:
        if not seen.ready or seen.running is None:
            return seen.replicas
        cores = _CPU_IDLE + (_CPU_BUSY if seen.running else 0) + self._call * seen.running / seen.ready
        wanted = by_utilization(cores / _CPU_ASKED, _CPU_TARGET, seen.ready, seen.replicas)
        return self._horizontal.decide(now, seen.replicas, [wanted])


Rulers = Mapping[str, tuple[int, Ruler]]


def _fixed(counts: Mapping[str, int]) -> Rulers:
    return {name: (count, _Fixed(count)) for name, count in counts.items()}


def _ruled(specs: Mapping[str, Mapping[str, Any]]) -> Rulers:
    names = {"worker": WORKERS, REASONER: REASONER, VISION: VISION}
    return {to: (specs[name]["minReplicaCount"], scaled.Scaled(specs[name])) for name, to in names.items()}


def compare(questions: Sequence[Question], load: Mapping[str, float], slots: int) -> Iterator[tuple[str, Result]]:
    """Yields each way to run the day, and what the day was like."""

    def run(rulers: Rulers) -> Result:
        return Cluster(shapes(load, slots), rulers).run(questions)

    ours = run(_ruled(scaled.rendered(values())))
    counts = {name: {REASONER: pick(ours, REASONER), VISION: pick(ours, VISION)} for name, pick in _SIZES.items()}
    yield _named("fixed, for the busiest minute", counts["most"]), run(_fixed({WORKERS: 8, **counts["most"]}))
    yield _named("fixed, the GPU-hours of ours", counts["mean"]), run(_fixed({WORKERS: 8, **counts["mean"]}))
    by_cpu: Rulers = {WORKERS: (8, _Fixed(8)), **{name: (1, _ByCpu(name)) for name in (REASONER, VISION)}}
    yield "KServe's own, by CPU, from 1", run(by_cpu)
    yield "ours, from 1", ours
    yield "ours, from 0", run(_ruled(scaled.rendered(values(least=0))))


_SIZES: Mapping[str, Callable[[Result, str], int]] = {
    "most": lambda result, name: result.most[name],
    "mean": lambda result, name: max(1, round(result.mean[name])),
}


def _named(what: str, counts: Mapping[str, int]) -> str:
    return f"{what} ({counts[REASONER]} + {counts[VISION]})"
