"""Making spans. While nothing is configured there are none, and only the id of the trace goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from longvideo.errors import Cancelled, LongVideoError
from longvideo.telemetry import context

Kind = SpanKind
Attributes = Mapping[str, AttributeValue]


@dataclass(frozen=True)
class Recording:
    """How spans are made: by whom, whether they hold what people and models said, and how secrets are hidden."""

    tracer: Tracer
    content: bool
    hide: Callable[[str], str]


class _Process:
    """What this process was told; None while it makes no spans."""

    recording: Recording | None = None


def record(recording: Recording | None) -> None:
    """Makes this process record spans from here on, or none."""
    _Process.recording = recording


def is_on() -> bool:
    """Tells whether spans are made."""
    return _Process.recording is not None


def begin(
    name: str,
    kind: SpanKind = Kind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    parent: SpanContext | None = None,
    links: Sequence[SpanContext] = (),
    root: bool = False,
) -> Span:
    """Starts a span, whose `end` the caller calls, in the trace of `parent`, or else in this one.

    With `root` it begins a trace of its own.
    """
    recording = _Process.recording
    if recording is None:
        here = context.fresh() if root else parent or context.current()
        return NonRecordingSpan(here if here.is_valid else context.fresh())
    where: contexts.Context | None = None
    if root:
        where = contexts.Context()
    elif parent is not None:
        where = trace.set_span_in_context(NonRecordingSpan(parent))
    return recording.tracer.start_span(name, where, kind, attributes, [Link(link) for link in links])


@contextlib.contextmanager
def span(
    name: str,
    kind: SpanKind = Kind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    parent: SpanContext | None = None,
) -> Iterator[Span]:
    """Makes a span of what is done within. An error that leaves it is noted, unless somebody wanted the end."""
    started = begin(name, kind, attributes, parent=parent)
    token = contexts.attach(trace.set_span_in_context(started))
    try:
        yield started
    except LongVideoError as error:
        failed(started, error)
        raise
    finally:
        contexts.detach(token)
        started.end()


def failed(span: Span, error: LongVideoError) -> None:
    """Notes why something failed.

    The words of an error can quote a model or a person: they are in the log under the same trace, and here only with
    `trace_content`.
    """
    if isinstance(error, Cancelled):
        return
    span.set_attribute("error.type", error.reason)
    recording = _Process.recording
    words = recording.hide(error.message) if recording is not None and recording.content else error.reason
    span.set_status(Status(StatusCode.ERROR, words))


def add_content(span: Span, name: str, text: Callable[[], str]) -> None:
    """Adds what a person or a model said, where the settings want that."""
    recording = _Process.recording
    if recording is not None and recording.content and span.is_recording():
        span.set_attribute(name, recording.hide(text()))
