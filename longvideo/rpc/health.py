"""Health that tells the truth: what a process needs is asked again and again whether it answers.

The name "" says that the process lives. The name of each service says whether it can do its work now: whether all that
it needs answers. What it needs has names of its own, such as "database", for whoever wants to know which it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from grpc_health.v1 import health, health_pb2

logger = logging.getLogger(__name__)

Check = Callable[[], object]
"""Returns when something that is needed answers, and raises when it does not."""

CHECK_SECONDS = 5.0
"""Seconds from one round of checks to the next."""

CHECK_LIMIT = 3.0
"""Seconds that a check may take; one that takes longer counts as no answer until it returns."""

# Work waits for these, as a job does that was accepted, so a service is ready without them.
_WAITED_FOR = frozenset(("broker", "models"))


class Health:
    """The states that a server's health service reports."""

    def __init__(self, services: Iterable[str], checks: Mapping[str, Check]) -> None:
        """Makes the first round of checks, which takes CHECK_LIMIT at most."""
        self.servicer = health.HealthServicer()
        self._services = tuple(services)
        self._probes = [_Probe(name, check) for name, check in checks.items()]
        self._stopping = threading.Event()
        self._round()

    def start(self) -> None:
        """Goes on checking, on a thread of its own."""
        if self._probes:
            threading.Thread(target=self._watch, name="health", daemon=True).start()

    def stop(self) -> None:
        """Says from now on that nothing is served any more."""
        self._stopping.set()
        self.servicer.enter_graceful_shutdown()

    def _watch(self) -> None:
        while not self._stopping.wait(CHECK_SECONDS):
            self._round()

    def _round(self) -> None:
        for probe in self._probes:
            probe.begin()
        until = time.monotonic() + CHECK_LIMIT
        ready = True
        for probe in self._probes:
            answers = probe.answers(until)
            self._set(probe.name, answers)
            ready = ready and (answers or probe.name in _WAITED_FOR)
        for service in self._services:
            self._set(service, ready)

    def _set(self, name: str, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        self.servicer.set(name, states.SERVING if serving else states.NOT_SERVING)


class _Probe:
    """One check. It runs on a thread that nobody waits for at the end, because it may hang."""

    def __init__(self, name: str, check: Check) -> None:
        self.name, self._check = name, check
        self._thread: threading.Thread | None = None
        self._failure = ""
        self._said = ""

    def begin(self) -> None:
        """Starts the check, unless the last one still runs."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=f"check {self.name}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._check()
        except Exception as error:  # noqa: BLE001  # the boundary: whatever a check raises, it got no answer
            self._failure = str(error) or type(error).__name__
        else:
            self._failure = ""

    def answers(self, until: float) -> bool:
        """Waits for the check, and tells whether it went well. A change is logged."""
        assert self._thread is not None
        self._thread.join(max(0.0, until - time.monotonic()))
        failure = f"no answer within {CHECK_LIMIT:g} seconds" if self._thread.is_alive() else self._failure
        if failure and not self._said:
            logger.warning("%s does not answer: %s", self.name, failure)
        elif self._said and not failure:
            logger.info("%s answers again", self.name)
        self._said = failure
        return not failure
