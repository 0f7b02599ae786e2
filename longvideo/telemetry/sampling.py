"""Which traces are sent: a share of them, and of the others what belongs to an error.

Whether a trace is in the share follows from its id, so that all processes with the same share agree; one that is
recorded elsewhere is recorded here too. The spans of the others are made as well, and wait until the last span that is
open here in their trace has ended: if one of them failed, all are sent, and otherwise none.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

MAX_WAITING: Final = 8192
"""How many spans wait at most, of all traces together. Of an error that comes later, these parts are missing."""


class Share(Sampler):
    """Records all spans, and says of a share of the traces that they are to be sent."""

    def __init__(self, ratio: float) -> None:
        self._ratio = TraceIdRatioBased(ratio)

    def should_sample(  # noqa: PLR0917  # the SDK's shape
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Returns what becomes of a span."""
        parent = trace.get_current_span(parent_context).get_span_context()
        sent = parent.is_valid and parent.trace_flags.sampled
        if not sent and (parent.is_remote or not parent.is_valid):
            ratio = self._ratio.should_sample(None, trace_id, name, kind, attributes, links, trace_state)
            sent = ratio.decision is Decision.RECORD_AND_SAMPLE
        return SamplingResult(Decision.RECORD_AND_SAMPLE if sent else Decision.RECORD_ONLY, attributes)

    def get_description(self) -> str:
        """Says what this is."""
        return f"longvideo({self._ratio.get_description()})"


class _Local:
    """What this process has of a trace that is not sent: how many spans are open, and which have ended."""

    def __init__(self) -> None:
        self.open = 0
        self.failed = False
        self.ended: list[ReadableSpan] = []


class Keeper(SpanProcessor):
    """Passes spans on that are to be sent, and those of other traces when something failed there."""

    def __init__(self, onward: SpanProcessor) -> None:
        self._onward = onward
        self._lock = threading.Lock()
        self._traces: dict[int, _Local] = {}
        self._waiting = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  # the SDK's shape
        """Notes that a span is open."""
        context = span.get_span_context()
        if not context.trace_flags.sampled:
            with self._lock:
                self._traces.setdefault(context.trace_id, _Local()).open += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Passes the span on, keeps it for a while, or forgets it."""
        context = span.get_span_context()
        if context is None or context.trace_flags.sampled:
            self._onward.on_end(span)
            return
        for kept in self._released(context.trace_id, span):
            self._onward.on_end(_to_send(kept))

    def _released(self, trace_id: int, span: ReadableSpan) -> list[ReadableSpan]:
        """Returns what is to be sent now that a span has ended."""
        with self._lock:
            local = self._traces[trace_id]
            local.open -= 1
            local.failed |= span.status.status_code is StatusCode.ERROR
            released: list[ReadableSpan] = []
            if local.failed:
                released = [*local.ended, span]
                self._drop(local)
            elif self._waiting < MAX_WAITING:
                local.ended.append(span)
                self._waiting += 1
            if not local.open:
                self._drop(local)
                del self._traces[trace_id]
        return released

    def _drop(self, local: _Local) -> None:
        self._waiting -= len(local.ended)
        local.ended = []

    def shutdown(self) -> None:
        """Sends what is to be sent, and forgets the rest."""
        self._onward.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Sends what is to be sent by now."""
        return self._onward.force_flush(timeout_millis)


def _to_send(span: ReadableSpan) -> ReadableSpan:
    """Returns a span as one that is to be sent."""
    context = span.get_span_context()
    assert context is not None
    return ReadableSpan(
        name=span.name,
        context=SpanContext(
            context.trace_id, context.span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        ),
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
