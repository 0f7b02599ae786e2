"""The orchestrator's API on the wire: proto in, proto out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc

from longvideo.v1 import orchestrator_pb2, orchestrator_pb2_grpc
from orchestrator.api.access import Access, guarded
from orchestrator.api.backend import Backend
from orchestrator.api.costs import MAX_REPORTS, CostMethods
from orchestrator.api.jobs import JobMethods
from orchestrator.api.ledger import MAX_EXPORTS, LedgerMethods
from orchestrator.api.trees import MAX_BUILDS, TreeMethods
from orchestrator.api.uploads import Uploads
from orchestrator.api.verification import Verification
from orchestrator.api.videos import VideoMethods
from orchestrator.api.watching import MAX_WATCHERS, Watching

__all__ = ["SERVICE_NAME", "Backend", "OrchestratorServicer", "registration"]

_SERVICE = orchestrator_pb2.DESCRIPTOR.services_by_name["OrchestratorService"]
SERVICE_NAME = _SERVICE.full_name


@guarded(tuple(method.name for method in _SERVICE.methods))
class OrchestratorServicer(
    VideoMethods, TreeMethods, JobMethods, LedgerMethods, CostMethods, orchestrator_pb2_grpc.OrchestratorServiceServicer
):
    """Answers `longvideo.v1.OrchestratorService`."""

    def __init__(self, backend: Backend, *, max_watchers: int = MAX_WATCHERS) -> None:
        self._backend = backend
        self._access = Access(backend.database)
        self._uploads = Uploads(backend)
        self._verification = Verification(backend, self._access)
        self._watching = Watching(backend.database, min(max_watchers, max(1, backend.settings.rpc_concurrency // 2)))
        self._builds = threading.BoundedSemaphore(MAX_BUILDS)
        self._exports = threading.BoundedSemaphore(MAX_EXPORTS)
        self._reports = threading.BoundedSemaphore(MAX_REPORTS)

    def stop_watching(self) -> None:
        """Ends the streams that follow jobs."""
        self._watching.stop()


def registration(
    servicer: OrchestratorServicer,
) -> tuple[str, Callable[[Any, grpc.Server], None], OrchestratorServicer]:
    """Returns what `rpc.serve` wants to know about the service."""
    return SERVICE_NAME, orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server, servicer
