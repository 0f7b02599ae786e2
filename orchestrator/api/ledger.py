"""The ledger of model calls, over gRPC: streamed page by page, so that a million take no more room than a thousand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc

from longvideo import usage
from longvideo.errors import ResourceExhausted
from longvideo.resources import JobName, VideoName
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import messages
from orchestrator.api import checks
from orchestrator.api.access import Access
from orchestrator.api.backend import Backend
from orchestrator.paging import Cursor
from orchestrator.tables import CallRow

# Each export holds one thread of the server for as long as its reader takes.
MAX_EXPORTS = 4

# How many calls go into one message, which has then at most a megabyte.
_PAGE = 1000

# When to come again where there are too many.
_RETRY_SECONDS = 10.0


class LedgerMethods:
    """The RPC about all model calls."""

    _backend: Backend
    _access: Access
    _exports: threading.BoundedSemaphore

    def ExportUsage(  # noqa: N802
        self, request: pb.ExportUsageRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ExportUsageResponse]:
        """Streams the model calls that were sent in a range of time, oldest first."""
        tenant = self._access.listed(request.tenant)
        start, end = checks.moment(request, "start_time") or 0.0, checks.moment(request, "end_time")
        end = time.time() if end is None else end
        checks.in_order(start, end)
        if not self._exports.acquire(blocking=False):
            error = ResourceExhausted(
                f"{MAX_EXPORTS} exports are under way already; try again when one is finished",
                reason="TOO_MANY_EXPORTS",
            )
            error.retry_after = _RETRY_SECONDS
            raise error
        try:
            yield from self._pages(tenant, start, end, context)
        finally:
            self._exports.release()

    def _pages(
        self, tenant: str | None, start: float, end: float, context: grpc.ServicerContext
    ) -> Iterator[pb.ExportUsageResponse]:
        after: Cursor | None = None
        while context.is_active():
            rows = self._backend.database.calls.ledger(tenant, start, end, after, _PAGE)
            if rows:
                yield pb.ExportUsageResponse(entries=map(_entry, rows))
                after = Cursor(rows[-1].start_time, rows[-1].id)
            if len(rows) < _PAGE:
                return


def _entry(row: CallRow) -> pb.LedgerEntry:
    return pb.LedgerEntry(
        call=usage.to_proto(messages.call_of(row)),
        tenant=row.tenant_id,
        video=str(VideoName(row.video_id)) if row.video_id else "",
        job=str(JobName(row.job_id)) if row.job_id else "",
        episode=row.episode or 0,
        round=row.round or 0,
        label=row.label,
    )
