"""What an episode can do to a video: read the caption of a segment, and ask the qa model about a clip.

Both are gRPC calls to a service. While one is under way the journal is asked, again and again, whether to go on, so
that a cancelled episode lets go of its model at once.
"""

from __future__ import annotations

import contextlib
import json
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.trace import Span

from longvideo import errors, rpc, telemetry, transport, usage
from longvideo.priorities import Priority
from longvideo.segments import Segment
from longvideo.v1 import caption_pb2, types_pb2, video_qa_pb2
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from longvideo.v1.video_qa_pb2_grpc import VideoQAServiceStub
from orchestrator.transcript import CaptionText


class Checker(Protocol):
    """Says whether to go on."""

    def check(self) -> None:
        """Returns, or raises what ends the episode."""

    def strays(self, strays: Sequence[types_pb2.StrayCall]) -> None:
        """Is told of calls that were made for others who had gone."""


@dataclass(frozen=True)
class Place:
    """The video, how it is cut and captioned, and how soon. `subtitles` and `pool` may be empty."""

    video: str
    tree_width: int
    sampling: types_pb2.Sampling.ValueType
    subtitles: str
    pool: str
    priority: Priority = types_pb2.PRIORITY_INTERACTIVE


@dataclass(frozen=True)
class Captioned:
    """A caption, whether it existed before, and the calls that made it."""

    caption: types_pb2.Caption
    cached: bool
    calls: tuple[usage.Call, ...]

    @property
    def text(self) -> CaptionText:
        """The caption as the reasoner reads it."""
        segment = self.caption.segment
        return CaptionText(Segment(tuple(segment.path)), *offsets(segment), self.caption.text)


@dataclass(frozen=True)
class ClipAnswer:
    """What the qa model saw, where (in seconds), and the calls that it took."""

    answer: str
    start: float
    end: float
    calls: tuple[usage.Call, ...]


def offsets(segment: types_pb2.Segment) -> tuple[float, float]:
    """Returns where a segment starts and ends, in seconds since the first frame."""
    return segment.start_offset.ToNanoseconds() / 1e9, segment.end_offset.ToNanoseconds() / 1e9


class Tools:
    """The tools of one episode. `requester` names it; `deadline` is on `time.monotonic`'s clock."""

    def __init__(
        self,
        place: Place,
        captions: CaptionServiceStub,
        video_qa: VideoQAServiceStub,
        *,
        requester: str,
        deadline: float,
        checker: Checker,
    ) -> None:
        self._place = place
        self._captions = captions
        self._video_qa = video_qa
        self._requester = requester
        self._deadline = deadline
        self._checker = checker

    def captions(self, segments: Sequence[Segment]) -> Iterator[Captioned]:
        """Makes several captions at one time and yields each when it is there, in the order of their completion.

        Raises the first error, once the other captions have ended too, with the calls of all: what is given up cannot
        be counted. When nobody wants them any more, they are given up.
        """
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        pending = [self._ask_caption(segment, done.put) for segment in segments]
        left = len(pending)
        try:
            while left:
                left -= 1
                yield self._captioned(self._result(done))
        except errors.Cancelled:
            raise
        except errors.LongVideoError as error:
            for _ in range(left):
                error.calls += self._calls(done)
            raise
        finally:
            for call in pending:
                call.cancel()

    def _calls(self, done: queue.SimpleQueue[Any]) -> tuple[usage.Call, ...]:
        """Returns the calls of a caption that is not used, however it ended."""
        try:
            return self._captioned(self._result(done)).calls
        except errors.Cancelled:
            raise
        except errors.LongVideoError as error:
            return error.calls

    def caption(self, segment: Segment) -> Captioned:
        """Returns the caption of one segment. Raises what the caption service raises, and what `checker` raises."""
        with _executing("get_caption", segment) as span:
            caption = next(self.captions([segment]))
            span.set_attribute("longvideo.cached", caption.cached)
            telemetry.add_content(span, "gen_ai.tool.call.result", lambda: caption.caption.text)
            return caption

    def ask(self, segment: Segment, query: str) -> ClipAnswer:
        """Asks the qa model about a low segment. Raises what the service raises, and what `checker` raises."""
        with _executing("video_qa", segment, query) as span:
            answer = self._ask(segment, query)
            telemetry.add_content(span, "gen_ai.tool.call.result", lambda: answer.answer)
            return answer

    def _ask(self, segment: Segment, query: str) -> ClipAnswer:
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        call = self._video_qa.AnswerQuestion.future(
            video_qa_pb2.AnswerQuestionRequest(
                video=self._place.video,
                path=segment.path,
                tree_width=self._place.tree_width,
                query=query,
                subtitles=self._place.subtitles,
                pool=self._place.pool,
                priority=self._place.priority,
            ),
            timeout=rpc.timeout(self._deadline),
        )
        call.add_done_callback(lambda _: done.put(call))
        try:
            answer = self._result(done)
        finally:
            call.cancel()
        self._checker.strays(answer.strays)
        return ClipAnswer(answer.answer, *offsets(answer.segment), tuple(map(usage.from_proto, answer.calls)))

    def _ask_caption(self, segment: Segment, done: Callable[[Any], None]) -> Any:
        call = self._captions.CaptionSegment.future(
            caption_pb2.CaptionSegmentRequest(
                video=self._place.video,
                path=segment.path,
                tree_width=self._place.tree_width,
                sampling=self._place.sampling,
                subtitles=self._place.subtitles,
                pool=self._place.pool,
                priority=self._place.priority,
                requester=self._requester,
            ),
            timeout=rpc.timeout(self._deadline),
        )
        call.add_done_callback(lambda _: done(call))
        return call

    def _result(self, done: queue.SimpleQueue[Any]) -> Any:
        pauses = transport.patience()
        while True:
            try:
                return done.get(timeout=next(pauses)).result()
            except queue.Empty:
                self._checker.check()
            except errors.Cancelled:
                self._checker.check()  # has the better reason, if it is ours
                raise

    def _captioned(self, answer: caption_pb2.CaptionSegmentResponse) -> Captioned:
        self._checker.strays(answer.strays)
        return Captioned(answer.caption, answer.cached, tuple(map(usage.from_proto, answer.calls)))


@contextlib.contextmanager
def _executing(tool: str, segment: Segment, query: str = "") -> Iterator[Span]:
    """Makes a span of the call of a tool."""
    about = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.type": "function",
        "longvideo.segment": ",".join(map(str, segment.path)),
        "longvideo.level": segment.level_name,
    }
    with telemetry.span(f"execute_tool {tool}", attributes=about) as span:
        given = {"segment": list(segment.path)} | ({"query": query} if query else {})
        telemetry.add_content(span, "gen_ai.tool.call.arguments", lambda: json.dumps(given, ensure_ascii=False))
        yield span
