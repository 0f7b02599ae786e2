"""How metrics are declared: what each is, and which processes have it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import prometheus_client as prometheus
from prometheus_client.registry import CollectorRegistry

Part = Literal["api", "worker", "beat", "caption", "qa"]
PARTS: Final[tuple[Part, ...]] = ("api", "worker", "beat", "caption", "qa")

REGISTRY: Final = CollectorRegistry()
"""What all metrics of this process are in."""

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Declared:
    """A metric as it is documented. Of a counter and a histogram, Prometheus sees the name with an ending."""

    name: str
    kind: str
    labels: tuple[str, ...]
    parts: frozenset[Part]
    meaning: str


DECLARED: Final[dict[str, Declared]] = {}
"""All metrics, by name, in the order of the page."""


def declare(name: str, kind: str, labels: Sequence[str], parts: Iterable[Part], meaning: str) -> None:
    """Declares a metric that somebody else makes."""
    shown = f"{name}_total" if kind == "counter" else name
    DECLARED[name] = Declared(shown, kind, tuple(labels), frozenset(parts), meaning)


def counter(name: str, meaning: str, labels: Sequence[str], *parts: Part) -> prometheus.Counter:
    """Makes and declares a counter."""
    declare(name, "counter", labels, parts, meaning)
    return prometheus.Counter(name, meaning, labels, registry=REGISTRY)


def gauge(name: str, meaning: str, labels: Sequence[str], *parts: Part) -> prometheus.Gauge:
    """Makes and declares a gauge."""
    declare(name, "gauge", labels, parts, meaning)
    return prometheus.Gauge(name, meaning, labels, registry=REGISTRY)


def histogram(
    name: str, meaning: str, labels: Sequence[str], buckets: Sequence[float], *parts: Part
) -> prometheus.Histogram:
    """Makes and declares a histogram."""
    declare(name, "histogram", labels, parts, meaning)
    return prometheus.Histogram(name, meaning, labels, buckets=buckets, registry=REGISTRY)
