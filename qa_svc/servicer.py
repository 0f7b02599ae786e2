"""The video question service on the wire: proto in, proto out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from longvideo import priorities, rpc, usage
from longvideo.errors import LongVideoError
from longvideo.resources import VideoName
from longvideo.strays import Strays
from longvideo.v1 import types_pb2, video_qa_pb2, video_qa_pb2_grpc
from qa_svc.answer import Answerer, QuestionRequest

SERVICE_NAME = video_qa_pb2.DESCRIPTOR.services_by_name["VideoQAService"].full_name


class VideoQAServicer(video_qa_pb2_grpc.VideoQAServiceServicer):
    """Answers `longvideo.v1.VideoQAService`."""

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._strays = Strays()

    def AnswerQuestion(  # noqa: N802  # the name of the method on the wire
        self, request: video_qa_pb2.AnswerQuestionRequest, context: grpc.ServicerContext
    ) -> video_qa_pb2.AnswerQuestionResponse:
        """Asks the qa model about a clip."""
        asked = QuestionRequest(
            video=VideoName.parse(request.video, "video"),
            path=tuple(request.path),
            width=request.tree_width,
            query=request.query,
            subtitles=request.subtitles,
            pool=request.pool,
            priority=priorities.rank(request.priority),
        )
        try:
            said = self._answerer.answer(asked, rpc.deadline(context), lambda: not context.is_active())
        except LongVideoError as error:
            self._strays.keep(context, request.video, error.calls)
            raise
        self._strays.keep(context, request.video, said.calls)
        segment = types_pb2.Segment(path=said.clip.segment.path)
        segment.start_offset.FromNanoseconds(round(said.clip.start * 1e9))
        segment.end_offset.FromNanoseconds(round(said.clip.end * 1e9))
        return video_qa_pb2.AnswerQuestionResponse(
            answer=said.answer,
            reasoning=said.reasoning,
            segment=segment,
            frame_count=said.frame_count,
            calls=map(usage.to_proto, said.calls),
            strays=self._strays.take(context),
        )


def registration(servicer: VideoQAServicer) -> tuple[str, Callable[[Any, grpc.Server], None], VideoQAServicer]:
    """Returns what `rpc.serve` wants to know about the service."""
    return SERVICE_NAME, video_qa_pb2_grpc.add_VideoQAServiceServicer_to_server, servicer
