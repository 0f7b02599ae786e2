"""A caption service and a video question service that answer as a test says, over real gRPC."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from longvideo import rpc
from longvideo.usage import Call, to_proto
from longvideo.v1 import caption_pb2, caption_pb2_grpc, types_pb2, video_qa_pb2, video_qa_pb2_grpc

SECONDS_PER_HIGH_SEGMENT = 100.0


def segment(path: tuple[int, ...], width: int) -> types_pb2.Segment:
    """Returns a segment of a video of `width` high segments of 100 s each."""
    size, start = SECONDS_PER_HIGH_SEGMENT, 0.0
    for level, number in enumerate(path):
        size = size / width if level else size
        start += (number - 1) * size
    message = types_pb2.Segment(path=path)
    message.start_offset.FromMicroseconds(round(start * 1e6))
    message.end_offset.FromMicroseconds(round((start + size) * 1e6))
    return message


def model_call(role: Any) -> Call:
    """Returns a call that went well."""
    return Call(
        role, f"{role}-model", "http://x/v1", "h800", 2, 1e9, 0.5, "ok", prompt_tokens=100, completion_tokens=10
    )


@dataclass
class ScriptedServices:
    """Both services on one server. `caption` and `answer` say what is answered, or raise; every request is kept.

    A caption is made once and cached after that, as the real service does. The next answer tells of `strays`.
    """

    caption: Callable[[tuple[int, ...]], str] = lambda path: f"caption of {path}"
    answer: Callable[[tuple[int, ...], str], str] = lambda _, query: f"answer to {query}"
    caption_requests: list[caption_pb2.CaptionSegmentRequest] = field(default_factory=list)
    qa_requests: list[video_qa_pb2.AnswerQuestionRequest] = field(default_factory=list)
    list_requests: list[caption_pb2.ListCaptionsRequest] = field(default_factory=list)
    strays: list[types_pb2.StrayCall] = field(default_factory=list)
    made: dict[tuple[int, ...], caption_pb2.CaptionSegmentResponse] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def CaptionSegment(  # noqa: N802
        self, request: caption_pb2.CaptionSegmentRequest, _: grpc.ServicerContext
    ) -> caption_pb2.CaptionSegmentResponse:
        """Answers with `caption`, the first time; after that from memory."""
        path = tuple(request.path)
        with self.lock:
            self.caption_requests.append(request)
            if path in self.made:
                return caption_pb2.CaptionSegmentResponse(caption=self.made[path].caption, cached=True)
        caption = types_pb2.Caption(
            segment=segment(path, request.tree_width), text=self.caption(path), frame_count=8, model="caption-model"
        )
        response = caption_pb2.CaptionSegmentResponse(
            caption=caption, calls=[to_proto(model_call("caption"))], strays=self._taken_strays()
        )
        with self.lock:
            return self.made.setdefault(path, response)

    def ListCaptions(  # noqa: N802
        self, request: caption_pb2.ListCaptionsRequest, _: grpc.ServicerContext
    ) -> caption_pb2.ListCaptionsResponse:
        """Lists every caption made so far."""
        with self.lock:
            self.list_requests.append(request)
            return caption_pb2.ListCaptionsResponse(captions=[self.made[path].caption for path in sorted(self.made)])

    def GetFrames(  # noqa: N802
        self, request: types_pb2.GetFramesRequest, _context: grpc.ServicerContext
    ) -> types_pb2.GetFramesResponse:
        """Returns as many pictures as are asked for, of one byte each."""
        place = segment(tuple(request.path), request.tree_width)
        return types_pb2.GetFramesResponse(
            segment=place, pictures=[types_pb2.Picture(offset=place.start_offset, jpeg=b"j")] * request.count
        )

    def AnswerQuestion(  # noqa: N802
        self, request: video_qa_pb2.AnswerQuestionRequest, _: grpc.ServicerContext
    ) -> video_qa_pb2.AnswerQuestionResponse:
        """Answers with `answer`."""
        with self.lock:
            self.qa_requests.append(request)
        path = tuple(request.path)
        return video_qa_pb2.AnswerQuestionResponse(
            answer=self.answer(path, request.query),
            segment=segment(path, request.tree_width),
            frame_count=16,
            calls=[to_proto(model_call("qa"))],
            strays=self._taken_strays(),
        )

    def _taken_strays(self) -> list[types_pb2.StrayCall]:
        with self.lock:
            taken, self.strays = self.strays, []
            return taken

    def serve(self) -> rpc.Server:
        """Starts a server with both services."""
        return rpc.serve(
            [
                (
                    "longvideo.v1.CaptionService",
                    caption_pb2_grpc.add_CaptionServiceServicer_to_server,
                    self,
                ),
                ("longvideo.v1.VideoQAService", video_qa_pb2_grpc.add_VideoQAServiceServicer_to_server, self),
            ]
        )
