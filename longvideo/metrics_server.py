"""Serves the metrics of a process over HTTP, for Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

import prometheus_client as prometheus
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from longvideo import __version__, metrics, prices
from longvideo.declared import DECLARED, REGISTRY, Part
from longvideo.errors import Unavailable
from longvideo.settings import Settings

logger = logging.getLogger(__name__)


class _Own(Collector):
    """The metrics that some parts of longvideo have."""

    def __init__(self, parts: Collection[Part]) -> None:
        self._parts = frozenset(parts)

    def collect(self) -> Iterator[Metric]:
        """Yields them as they stand."""
        for metric in REGISTRY.collect():
            if DECLARED[metric.name].parts & self._parts:
                yield metric

    def describe(self) -> list[Metric]:
        """Says nothing: to count what is there would ask the database."""
        return []


def serve(settings: Settings, *parts: Part) -> str:
    """Serves the metrics of these parts where the settings say, if anywhere, and returns the address.

    It goes on for as long as the process lives. Raises Unavailable when the address cannot be used, and BadSettings
    for a price book that is wrong.
    """
    if not settings.metrics_listen:
        return ""
    metrics.PRICES.book = prices.load(settings.price_book)
    for part in parts:
        metrics.INFO.labels(__version__, part).set(1)
    for endpoint in settings.endpoints:
        if endpoint.model:
            metrics.tell_gpus(endpoint.model, endpoint.pool, endpoint.gpus)
    registry = CollectorRegistry()
    registry.register(_Own(parts))
    prometheus.ProcessCollector(registry=registry)
    host, _, port = settings.metrics_listen.rpartition(":")
    try:
        server, _ = prometheus.start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise Unavailable(
            f"metrics_listen is {settings.metrics_listen}, where nothing can listen: {error.strerror or error}",
            reason="ADDRESS_UNAVAILABLE",
        ) from None
    address = f"{host}:{server.server_port}"
    logger.info("metrics are served at http://%s/metrics", address)
    return address
