"""Prometheus, from the PATH: where there is none, the tests that need it are skipped and say so."""

from __future__ import annotations

import json
import math
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.parts.server import HOST, Server

PROMTOOL = shutil.which("promtool") or ""
_PROMETHEUS = shutil.which("prometheus") or ""
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="there is no promtool on the PATH; install Prometheus")
needs_prometheus = pytest.mark.skipif(not _PROMETHEUS, reason="there is no prometheus on the PATH; install it")

_DEADLINE = 60.0


def has_prometheus() -> bool:
    """Tells whether there is a `prometheus` on the PATH."""
    return bool(_PROMETHEUS)


class Target(NamedTuple):
    """Where metrics are served, the labels that their series get, and whether anybody answers there."""

    address: str
    labels: Mapping[str, str]
    answers: bool = True


class Prometheus(Server):
    """Prometheus, which collects from its targets, and evaluates its rules, once a second.

    It has its address before it starts; `targets` are set by then.
    """

    def __init__(self, *rules: Path) -> None:
        super().__init__()
        self.targets: list[Target] = []
        self._rules = [str(path) for path in rules]

    def command(self) -> list[str]:
        """Returns what is run."""
        return [
            _PROMETHEUS,
            f"--config.file={self.directory}/prometheus.yml",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address={self.address}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        scrape = {
            "job_name": "targets",
            "static_configs": [{"targets": [target.address], "labels": dict(target.labels)} for target in self.targets],
        }
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": self._rules,
            "scrape_configs": [scrape],
        }
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        super().start()

    def check(self) -> None:
        """Raises an exception while the server does not answer."""
        urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5).close()

    def query(self, query: str) -> dict[frozenset[tuple[str, str]], float]:
        """Returns what a query gives now, by labels. What is no number is left out."""
        found = self._get("query", query=query)
        assert found["resultType"] in {"vector", "scalar"}, query
        if found["resultType"] == "scalar":
            return {frozenset(): float(found["result"][1])}
        values = {frozenset(each["metric"].items()): float(each["value"][1]) for each in found["result"]}
        return {labels: value for labels, value in values.items() if not math.isnan(value)}

    def value(self, query: str) -> float:
        """Returns what a query of one number gives."""
        ((_, value),) = self.query(query).items()
        return value

    def until(self, query: str) -> None:
        """Waits until a query gives something."""
        deadline = time.monotonic() + _DEADLINE
        while not self.query(query):
            assert time.monotonic() < deadline, f"never: {query}"
            time.sleep(0.1)

    def exemplars(self, query: str) -> list[dict[str, str]]:
        """Returns the labels of the exemplars of the series in a query, of the last hour."""
        now = time.time()
        found = self._get("query_exemplars", query=query, start=str(now - 3600), end=str(now + 60))
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]

    def collect(self) -> None:
        """Waits until all targets were asked once more from now on, and those that should have answered."""
        begun, deadline = time.time(), time.monotonic() + _DEADLINE
        while True:
            # A scrape has the time of its start. Of more than a plain series, `timestamp` tells when it was asked.
            times = self.query("timestamp(up) and up == 1").values()
            if sum(when > begun for when in times) == sum(target.answers for target in self.targets):
                return
            assert time.monotonic() < deadline, f"targets are not asked: {self._get('targets')}"
            time.sleep(0.1)

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"http://{HOST}:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]
