"""The caption service on the wire: proto in, proto out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from caption_svc import pictures
from caption_svc.caption import Caption, Captioner, CaptionRequest, SamplingName
from longvideo import priorities, rpc, usage
from longvideo.clips import Library
from longvideo.errors import InvalidArgument, LongVideoError
from longvideo.resources import VideoName
from longvideo.strays import Strays
from longvideo.v1 import caption_pb2, caption_pb2_grpc, types_pb2

SERVICE_NAME = caption_pb2.DESCRIPTOR.services_by_name["CaptionService"].full_name

_SAMPLINGS: dict[int, SamplingName | None] = {
    types_pb2.SAMPLING_UNSPECIFIED: None,
    types_pb2.SAMPLING_TRAINED: "trained",
    types_pb2.SAMPLING_LIGHT: "light",
}


class CaptionServicer(caption_pb2_grpc.CaptionServiceServicer):
    """Answers `longvideo.v1.CaptionService`."""

    def __init__(self, captioner: Captioner, library: Library) -> None:
        self._captioner = captioner
        self._library = library
        self._strays = Strays()

    def CaptionSegment(  # noqa: N802  # the name on the wire
        self, request: caption_pb2.CaptionSegmentRequest, context: grpc.ServicerContext
    ) -> caption_pb2.CaptionSegmentResponse:
        """Returns the caption of a segment, making it if nobody has yet."""
        wanted = CaptionRequest(
            video=VideoName.parse(request.video, "video"),
            path=tuple(request.path),
            width=request.tree_width,
            sampling=_sampling(request.sampling),
            subtitles=request.subtitles,
            pool=request.pool,
            requester=request.requester,
            priority=priorities.rank(request.priority),
        )
        try:
            result = self._captioner.caption(wanted, rpc.deadline(context), lambda: not context.is_active())
        except LongVideoError as error:
            self._strays.keep(context, request.video, error.calls)
            raise
        self._strays.keep(context, request.video, result.calls)
        return caption_pb2.CaptionSegmentResponse(
            caption=_to_proto(result.caption),
            calls=map(usage.to_proto, result.calls),
            cached=result.cached,
            strays=self._strays.take(context),
        )

    def ListCaptions(  # noqa: N802  # the name on the wire
        self,
        request: caption_pb2.ListCaptionsRequest,
        context: grpc.ServicerContext,  # noqa: ARG002  # nothing here takes long
    ) -> caption_pb2.ListCaptionsResponse:
        """Lists the captions that exist."""
        wanted = CaptionRequest(
            video=VideoName.parse(request.video, "video"),
            path=tuple(request.path),
            width=request.tree_width,
            sampling=_sampling(request.sampling),
            subtitles=request.subtitles,
            pool=request.pool,
        )
        return caption_pb2.ListCaptionsResponse(captions=map(_to_proto, self._captioner.captions(wanted)))

    def GetFrames(  # noqa: N802  # the name on the wire
        self, request: types_pb2.GetFramesRequest, context: grpc.ServicerContext
    ) -> types_pb2.GetFramesResponse:
        """Returns a few pictures of a segment."""
        return pictures.of_segment(self._library, request, rpc.deadline(context), lambda: not context.is_active())


def registration(servicer: CaptionServicer) -> tuple[str, Callable[[Any, grpc.Server], None], CaptionServicer]:
    """Returns what `rpc.serve` wants to know about the service."""
    return SERVICE_NAME, caption_pb2_grpc.add_CaptionServiceServicer_to_server, servicer


def _sampling(value: int) -> SamplingName | None:
    if value not in _SAMPLINGS:
        raise InvalidArgument(
            f"sampling is {value}; it must be SAMPLING_TRAINED, SAMPLING_LIGHT or unspecified", field="sampling"
        )
    return _SAMPLINGS[value]


def _to_proto(caption: Caption) -> types_pb2.Caption:
    message = types_pb2.Caption(
        segment=types_pb2.Segment(path=caption.segment.path),
        text=caption.text,
        frame_count=caption.frame_count,
        model=caption.model,
        moved_frame_count=caption.moved_frame_count,
    )
    message.mean_move.FromNanoseconds(round(caption.mean_move * 1e9))
    message.max_move.FromNanoseconds(round(caption.max_move * 1e9))
    message.segment.start_offset.FromNanoseconds(round(caption.start * 1e9))
    message.segment.end_offset.FromNanoseconds(round(caption.end * 1e9))
    message.create_time.FromNanoseconds(round(caption.create_time * 1e9))
    return message
