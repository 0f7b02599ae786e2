"""Traces: what happened for one question, through all processes, as OpenTelemetry has them.

    with telemetry.span("read frames", attributes={"longvideo.frames": 16}) as span:
        ...

`configure` makes a process send its spans to an OTLP collector. Without it nothing is recorded, and a span costs
nothing: only the id of the trace is passed on, from call to call and into the log, so that a log can be searched for
what belongs together. Nothing here fails, and nothing waits, whatever the collector does.
"""

from longvideo.telemetry.configuration import configure, configured, shutdown
from longvideo.telemetry.context import current, exemplar, header, ids, parse
from longvideo.telemetry.spans import Kind, add_content, begin, failed, is_on, span

__all__ = [
    "Kind",
    "add_content",
    "begin",
    "configure",
    "configured",
    "current",
    "exemplar",
    "failed",
    "header",
    "ids",
    "is_on",
    "parse",
    "shutdown",
    "span",
]
