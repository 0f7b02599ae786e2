"""The trace of an episode: where it begins, and the span of each time that a worker takes it up.

It begins where the job is submitted, and where that was is kept with the episode: whoever takes it up goes on in the
same trace. The only question of a job goes on in the trace of whoever asked it. Of many questions, each has a trace of
its own, which is linked to that of their submission, and that to each of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span

from longvideo import __version__, telemetry
from longvideo.errors import LongVideoError
from orchestrator.store.work import End, Taken


def submitted(episodes: Sequence[str]) -> list[str]:
    """Returns where the traces of new episodes begin, each as a `traceparent`."""
    if len(episodes) == 1:
        return [telemetry.header()]
    submission = trace.get_current_span()
    return [_begun(name, submission) for name in episodes]


def _begun(episode: str, submission: Span) -> str:
    about = {"gen_ai.conversation.id": episode}
    span = telemetry.begin(
        "submit episode", telemetry.Kind.PRODUCER, about, links=[submission.get_span_context()], root=True
    )
    span.end()
    submission.add_link(span.get_span_context(), about)
    return telemetry.header(span.get_span_context())


@contextlib.contextmanager
def taken_up(taken: Taken) -> Iterator[None]:
    """Makes a span of what is done within for an episode."""
    about: dict[str, Any] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "longvideo",
        "gen_ai.agent.name": "longvideo",
        "gen_ai.agent.version": __version__,
        "gen_ai.conversation.id": str(taken.held.name),
        "longvideo.tenant": taken.held.tenant,
        "longvideo.video": taken.held.video_id,
        "longvideo.label": taken.held.label,
        "longvideo.finished_rounds": taken.episode.round_count,
    }
    with telemetry.span(
        "invoke_agent longvideo",
        attributes={name: value for name, value in about.items() if value != ""},
        parent=telemetry.parse(taken.episode.trace_parent),
    ) as span:
        telemetry.add_content(span, "longvideo.question", lambda: taken.episode.question)
        yield


def ended(end: End) -> None:
    """Notes how the episode ended."""
    span = trace.get_current_span()
    span.set_attribute("longvideo.ending", end.ending)
    telemetry.add_content(span, "longvideo.answer", lambda: end.answer)
    if end.state == "failed":
        error = LongVideoError(end.message, reason=end.reason)
        telemetry.failed(span, error)


def postponed(error: LongVideoError, seconds: float) -> None:
    """Notes that the episode goes on later, and why."""
    span = trace.get_current_span()
    span.set_attribute("longvideo.waits_seconds", seconds)
    telemetry.failed(span, error)
