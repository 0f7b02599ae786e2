"""Reports of cost, over gRPC."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import grpc

from longvideo.errors import Cancelled, InvalidArgument, ResourceExhausted, Unavailable
from longvideo.resources import JobName
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.api import checks
from orchestrator.api.access import Access
from orchestrator.api.backend import Backend
from orchestrator.costs import replicas
from orchestrator.costs.report import Asked, Report, Unknown
from orchestrator.costs.sharing import Capacities
from orchestrator.store.costs import Scope

logger = logging.getLogger(__name__)

# Each reads the ledger of its period.
MAX_REPORTS = 2

# When to come again where there are too many.
_RETRY_SECONDS = 10.0


class CostMethods:
    """The RPC about costs."""

    _backend: Backend
    _access: Access
    _reports: threading.BoundedSemaphore

    def GetCostReport(  # noqa: N802
        self, request: pb.GetCostReportRequest, context: grpc.ServicerContext
    ) -> pb.CostReport:
        """Says what a period cost, on three bases side by side."""
        scope, dimensions = self._scope(request), checks.cost_dimensions(request.group_by)
        bounds = checks.moment(request, "start_time"), checks.moment(request, "end_time")

        def check() -> None:
            if not context.is_active():
                raise Cancelled("the caller has gone")

        if not self._reports.acquire(blocking=False):
            error = ResourceExhausted(
                f"{MAX_REPORTS} reports are being made already; try again when one is finished",
                reason="TOO_MANY_REPORTS",
            )
            error.retry_after = _RETRY_SECONDS
            raise error
        try:
            since, until = self._period(scope, *bounds)
            capacities = self._capacities(since, until, check)
            report = Report(Asked(since, until, scope, dimensions), self._backend.prices, capacities, check)
            with self._backend.database.costs.read() as reading:
                return report.read(reading)
        finally:
            self._reports.release()

    def _scope(self, request: pb.GetCostReportRequest) -> Scope:
        if not request.job:
            return Scope(self._access.listed(request.tenant))
        if request.tenant:
            raise InvalidArgument(
                "tenant and job are both given; a job has one tenant: leave tenant empty", field="tenant"
            )
        name = JobName.parse(request.job, "job")
        self._access.job(name)
        return Scope(None, name.job_id)

    def _period(self, scope: Scope, since: float | None, until: float | None) -> tuple[float, float]:
        first: float | None = None
        last = now = time.time()
        with self._backend.database.costs.read() as reading:
            if scope.job_id:
                first, last = reading.span(scope.job_id)
            elif since is None:
                first = reading.first()
        until = max(now, last) if until is None else until
        since = min(until, until if first is None else first) if since is None else since
        checks.in_order(since, until)
        return since, until

    def _capacities(self, since: float, until: float, check: Callable[[], object]) -> Capacities | Unknown:
        settings = self._backend.settings
        if not settings.prometheus_url:
            return Unknown(
                "NO_PROMETHEUS",
                "The server knows no Prometheus, so the allocated basis is not known; the setting prometheus_url names "
                "one.",
            )
        try:
            return replicas.capacities(settings.prometheus_url, settings.prometheus_namespace, since, until, check)
        except Unavailable as error:
            logger.warning("%s", error.message)
            return Unknown("PROMETHEUS_UNAVAILABLE", f"{error.message}; so the allocated basis is not known now.")
