"""Videos and their subtitles, over gRPC."""

from __future__ import annotations

import re

import grpc
from google.protobuf.empty_pb2 import Empty

from longvideo import rpc, subtitles
from longvideo.errors import InvalidArgument
from longvideo.resources import SubtitlesName, VideoName
from longvideo.storage import subtitles_key
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator import messages, paging, pruning
from orchestrator.api import checks
from orchestrator.api.access import Access, ready
from orchestrator.api.backend import Backend
from orchestrator.api.uploads import Uploads, check_size
from orchestrator.api.verification import Verification

_SHA256 = re.compile(r"[0-9a-f]{64}")


class VideoMethods:
    """The RPCs about videos and subtitles."""

    _backend: Backend
    _access: Access
    _uploads: Uploads
    _verification: Verification

    def CreateVideo(self, request: pb.CreateVideoRequest, _context: grpc.ServicerContext) -> pb.CreateVideoResponse:  # noqa: N802
        """Creates a video, and says where its bytes go."""
        if not _SHA256.fullmatch(request.sha256):
            raise InvalidArgument(
                f"sha256 is {request.sha256[:80]!r}; it must be the SHA-256 of the file as 64 lowercase hexadecimal "
                "digits",
                field="sha256",
            )
        check_size(request.size_bytes)
        held = self._backend.database.videos.create(
            self._access.tenant,
            request.sha256,
            size_bytes=request.size_bytes,
            display_name=checks.display_name(request.display_name),
        )
        if held.is_ready and self._verification.is_intact(held.row):
            return pb.CreateVideoResponse(video=messages.video(held))
        if held.is_ready:
            self._backend.database.videos.reopen(held.id)
            held = self._access.video(VideoName(held.id))
        response = self._uploads.wanted(self._access.tenant, held.id)
        response.video.CopyFrom(messages.video(held))
        return response

    def CompleteVideo(self, request: pb.CompleteVideoRequest, context: grpc.ServicerContext) -> types_pb2.Video:  # noqa: N802
        """Checks the bytes that were uploaded, builds the packet index and makes the video ready."""
        return messages.video(self._verification.upload(VideoName.parse(request.name), context))

    def RegisterVideo(self, request: pb.RegisterVideoRequest, context: grpc.ServicerContext) -> types_pb2.Video:  # noqa: N802
        """Makes an object of a bucket that the operator has listed a video."""
        bucket, key = checks.source_uri(request.source_uri, self._backend.settings.import_buckets)
        name = checks.display_name(request.display_name) or key.rpartition("/")[2][: checks.MAX_NAME_CHARS]
        return messages.video(self._verification.object(bucket, key, name, context))

    def DeleteVideo(self, request: pb.DeleteVideoRequest, context: grpc.ServicerContext) -> Empty:  # noqa: N802
        """Gives a video up; deletes its objects when nobody else has it."""
        held = self._access.video(VideoName.parse(request.name))
        unneeded = self._backend.database.retention.give_up(self._access.tenant, held.id)
        pruning.remove(self._backend.database, self._backend.store, unneeded, rpc.timeout(rpc.deadline(context)))
        return Empty()

    def GetVideo(self, request: pb.GetVideoRequest, _context: grpc.ServicerContext) -> types_pb2.Video:  # noqa: N802
        """Returns a video."""
        return messages.video(self._access.visible_video(VideoName.parse(request.name)))

    def ListVideos(self, request: pb.ListVideosRequest, _context: grpc.ServicerContext) -> pb.ListVideosResponse:  # noqa: N802
        """Lists videos, newest first."""
        tenant = self._access.tenant
        size, query = paging.size(request.page_size), f"videos of {tenant}"
        rows = self._backend.database.videos.page(tenant, paging.decode(request.page_token, query), size + 1)
        videos = list(paging.fitting(map(messages.video, rows[:size])))
        token = paging.next_token(
            query, rows, len(videos), lambda held: paging.Cursor(held.holding.create_time, held.id)
        )
        return pb.ListVideosResponse(videos=videos, next_page_token=token)

    def CreateSubtitles(  # noqa: N802
        self, request: pb.CreateSubtitlesRequest, _context: grpc.ServicerContext
    ) -> types_pb2.Subtitles:
        """Stores subtitles for a video and makes them the video's default."""
        held = ready(self._access.video(VideoName.parse(request.parent, "parent")))
        name = checks.display_name(request.display_name)
        fitted, warnings = subtitles.fit(subtitles.parse(request.content, name), held.row.duration, name)
        self._backend.store.put(subtitles_key(held.id, fitted.id), fitted.to_bytes())
        self._backend.database.videos.add_subtitles(self._access.tenant, held.id, fitted.id, len(fitted.cues))
        return types_pb2.Subtitles(
            name=str(SubtitlesName(held.id, fitted.id)), cue_count=len(fitted.cues), warnings=warnings
        )
