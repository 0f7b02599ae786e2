"""Caption trees, over gRPC: what there is of one, pictures of its segments, and building one ahead of time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import grpc

from longvideo import logs, rpc, usage
from longvideo.errors import InvalidArgument, LongVideoError, ResourceExhausted
from longvideo.resources import VideoName
from longvideo.segments import LEVELS, Segment, Tree, tree_width
from longvideo.v1 import caption_pb2, types_pb2
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.api import checks
from orchestrator.api.access import Access, ready
from orchestrator.api.backend import Backend
from orchestrator.messages import HeldVideo
from orchestrator.store.calls import Purpose
from orchestrator.timeline import Timeline

# Each build holds one thread of the server for as long as it takes.
MAX_BUILDS = 8


@dataclass(frozen=True)
class _Plan:
    """A tree, how it is captioned, and for whom."""

    tenant: str
    name: VideoName
    tree: Tree
    config: pb.TreeConfig

    @property
    def video(self) -> str:
        """The video's name."""
        return str(self.name)

    @property
    def purpose(self) -> Purpose:
        """What the calls are for that are made for the tree."""
        return Purpose(self.tenant, self.name.video_id)


class TreeMethods:
    """The RPCs about trees."""

    _backend: Backend
    _access: Access
    _builds: threading.BoundedSemaphore

    def GetTree(self, request: pb.GetTreeRequest, context: grpc.ServicerContext) -> pb.Tree:  # noqa: N802
        """Lists the captions of a video that exist, as a tree."""
        video = ready(self._access.visible_video(VideoName.parse(request.video, "video")))
        plan = self._plan(video, request.config)
        top = Segment(tuple(request.path)) if request.path else None
        if top is not None:
            plan.tree.span(top)
        answer = self._backend.captions.ListCaptions(
            caption_pb2.ListCaptionsRequest(
                video=plan.video,
                tree_width=plan.tree.width,
                sampling=plan.config.sampling,
                subtitles=plan.config.subtitles,
                path=request.path,
                pool=plan.config.pool,
            ),
            timeout=rpc.timeout(rpc.deadline(context)),
        )
        made = {tuple(caption.segment.path): caption for caption in answer.captions}
        timeline = Timeline(self._backend.database.videos.timeline(video.id), plan.tree.width)
        captions = [
            made.get(segment.path) or types_pb2.Caption(segment=timeline.message(segment))
            for segment in plan.tree.walk()
            if top is None or top.contains(segment)
        ]
        return pb.Tree(video=plan.video, width=plan.tree.width, captions=captions)

    def GetFrames(  # noqa: N802
        self, request: types_pb2.GetFramesRequest, context: grpc.ServicerContext
    ) -> types_pb2.GetFramesResponse:
        """Returns a few pictures of a segment of a video."""
        ready(self._access.visible_video(VideoName.parse(request.video, "video")))
        return self._backend.captions.GetFrames(request, timeout=rpc.timeout(rpc.deadline(context)))

    def BuildTree(  # noqa: N802
        self, request: pb.BuildTreeRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.BuildTreeResponse]:
        """Captions a whole tree ahead of time, and streams the progress."""
        if not 0 <= request.level <= LEVELS:
            raise InvalidArgument(
                f"level is {request.level}; give 1 (high), 2 (medium) or 3 (low), or 0 for 3", field="level"
            )
        video = ready(self._access.video(VideoName.parse(request.video, "video")))
        plan = self._plan(video, request.config)
        levels = [list(plan.tree.segments(level)) for level in range(1, (request.level or LEVELS) + 1)]
        if not self._builds.acquire(blocking=False):
            raise ResourceExhausted(
                f"{MAX_BUILDS} trees are being built already; try again when one is finished", reason="TOO_MANY_BUILDS"
            )
        try:
            yield from self._build(plan, levels, context)
        finally:
            self._builds.release()

    def _plan(self, video: HeldVideo, config: pb.TreeConfig) -> _Plan:
        full = checks.config(self._backend.settings, self._access, config, video)
        tree = Tree(video.row.frame_count, tree_width(video.row.duration, full.min_width))
        return _Plan(self._access.tenant, VideoName(video.id), tree, full)

    def _build(
        self, plan: _Plan, levels: Sequence[Sequence[Segment]], context: grpc.ServicerContext
    ) -> Iterator[pb.BuildTreeResponse]:
        """Yields captions as they are made, level by level. The first error ends it; what was made stays."""
        deadline, done, total = rpc.deadline(context), 0, sum(map(len, levels))
        pool = ThreadPoolExecutor(self._backend.settings.caption_concurrency, "build")
        try:
            for segments in levels:
                waiting: list[Future[pb.BuildTreeResponse]] = [
                    pool.submit(logs.carried(self._caption), plan, segment, deadline, context) for segment in segments
                ]
                for finished in as_completed(waiting):
                    response = finished.result()
                    done += 1
                    response.done_count, response.total_count = done, total
                    yield response
        finally:
            # Calls that are under way end by themselves: their captions are worth keeping.
            pool.shutdown(wait=False, cancel_futures=True)

    def _caption(
        self, plan: _Plan, segment: Segment, deadline: float, context: grpc.ServicerContext
    ) -> pb.BuildTreeResponse:
        if not context.is_active():
            return pb.BuildTreeResponse()  # nobody reads it any more
        try:
            answer = self._backend.captions.CaptionSegment(
                caption_pb2.CaptionSegmentRequest(
                    video=plan.video,
                    path=segment.path,
                    tree_width=plan.tree.width,
                    sampling=plan.config.sampling,
                    subtitles=plan.config.subtitles,
                    pool=plan.config.pool,
                    priority=types_pb2.PRIORITY_BATCH,  # it is ahead of time: whoever asks a question goes first
                ),
                timeout=rpc.timeout(deadline),
            )
        except LongVideoError as error:
            self._backend.database.calls.record(error.calls, plan.purpose)
            raise
        self._backend.database.calls.record(list(map(usage.from_proto, answer.calls)), plan.purpose)
        self._backend.database.calls.record_strays(answer.strays)
        return pb.BuildTreeResponse(caption=answer.caption, cached=answer.cached, calls=answer.calls)
