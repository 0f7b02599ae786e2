"""How much there is to do, asked of the database when somebody wants to know."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Backlog(NamedTuple):
    """The episodes of one priority that are not at their end, and how many seconds the oldest one waits."""

    priority: str
    waiting: int
    running: int
    oldest_seconds: float


class Backlogs(Collector):
    """Asks the database how much there is to do when somebody wants to know, at most every few seconds.

    Whoever scrapes waits for the database only for a moment, and what is known is told only while it is new.
    `gauges` names what it tells, in the order of a backlog's fields, with what each means.
    """

    _EVERY, _NEW, _WAIT = 5.0, 60.0, 2.0

    def __init__(self, gauges: Mapping[str, str]) -> None:
        self.source: Callable[[], Sequence[Backlog]] | None = None
        self._gauges = gauges
        self._known: tuple[float, Sequence[Backlog]] = (float("-inf"), ())
        self._asking = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yields the gauges."""
        families = [GaugeMetricFamily(name, meaning, labels=("priority",)) for name, meaning in self._gauges.items()]
        for backlog in self._recent():
            for family, value in zip(families, backlog[1:], strict=True):
                family.add_metric([backlog.priority], value)
        yield from families

    def _recent(self) -> Sequence[Backlog]:
        source, (when, _) = self.source, self._known
        if source is not None and time.monotonic() > when + self._EVERY:
            asking = threading.Thread(target=self._ask, args=(source,), name="backlog", daemon=True)
            asking.start()
            asking.join(self._WAIT)
        when, known = self._known
        return known if time.monotonic() < when + self._NEW else ()

    def _ask(self, source: Callable[[], Sequence[Backlog]]) -> None:
        if self._asking.acquire(blocking=False):
            try:
                # Whatever is wrong with the database is told elsewhere.
                with contextlib.suppress(Exception):
                    self._known = (time.monotonic(), source())
            finally:
                self._asking.release()
