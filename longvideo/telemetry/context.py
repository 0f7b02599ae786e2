"""Which trace this is: the ids that go from call to call, as the W3C's `traceparent`, whether spans are made or not."""

from __future__ import annotations

import secrets

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_HEADER = "traceparent"
_W3C = TraceContextTextMapPropagator()


def current() -> SpanContext:
    """Returns where we are: the span that is open here, or what came with the call; not valid where there is none."""
    return trace.get_current_span().get_span_context()


def fresh() -> SpanContext:
    """Returns the beginning of a trace of which no span is made."""
    return SpanContext(int(secrets.token_hex(16), 16) or 1, int(secrets.token_hex(8), 16) or 1, is_remote=False)


def parse(traceparent: str) -> SpanContext | None:
    """Returns what a `traceparent` says, or None when it says nothing."""
    found = trace.get_current_span(_W3C.extract({_HEADER: traceparent}, Context())).get_span_context()
    # What else came along is for somebody else.
    return SpanContext(found.trace_id, found.span_id, True, found.trace_flags) if found.is_valid else None


def header(context: SpanContext | None = None) -> str:
    """Returns a place in a trace, this one if none is given, as `traceparent`; that of a new trace where there is none.

    It says that the span is recorded only where it is.
    """
    there = context or current()
    if not there.is_valid:
        there = fresh()
    return f"00-{there.trace_id:032x}-{there.span_id:016x}-{there.trace_flags:02x}"


def ids() -> dict[str, str]:
    """Returns what a line of the log says about where it belongs."""
    span = trace.get_current_span()
    here = span.get_span_context()
    if not here.is_valid:
        return {}
    trace_id = {"trace_id": f"{here.trace_id:032x}"}
    return trace_id | {"span_id": f"{here.span_id:016x}"} if span.is_recording() else trace_id


def exemplar() -> dict[str, str] | None:
    """Returns what points from a measurement to this trace, if it is one that is sent."""
    here = current()
    return {"trace_id": f"{here.trace_id:032x}"} if here.trace_flags.sampled and here.is_valid else None
