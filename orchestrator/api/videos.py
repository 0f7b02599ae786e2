"""Videos and their subtitles, over gRPC."""

from __future__ import annotations

import hashlib
import re

import grpc

from longvideo import rpc, subtitles
from longvideo.errors import Cancelled, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from longvideo.resources import SubtitlesName, VideoName
from longvideo.storage import ObjectStat, index_key, source_key, subtitles_key
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from longvideo.video import BadIndex, ByteSource, VideoIndex, build_index
from orchestrator import messages, paging
from orchestrator.api import checks
from orchestrator.api.backend import Backend
from orchestrator.db import VideoRow

_SHA256 = re.compile(r"[0-9a-f]{64}")
# How long a client may take to begin its upload.
_UPLOAD_SECONDS = 6 * 3600.0
_CHUNK_BYTES = 4 * 1024 * 1024


class VideoMethods:
    """The RPCs about videos and subtitles."""

    _backend: Backend

    def CreateVideo(self, request: pb.CreateVideoRequest, _context: grpc.ServicerContext) -> pb.CreateVideoResponse:  # noqa: N802
        """Creates a video, and says where its bytes go."""
        if not _SHA256.fullmatch(request.sha256):
            raise InvalidArgument(
                f"sha256 is {request.sha256[:80]!r}; it must be the SHA-256 of the file as 64 lowercase hexadecimal "
                "digits",
                field="sha256",
            )
        if request.size_bytes <= 0:
            raise InvalidArgument(
                f"size_bytes is {request.size_bytes}; an empty file is not a video", field="size_bytes"
            )
        row = self._backend.database.videos.create(
            request.sha256, size_bytes=request.size_bytes, display_name=checks.display_name(request.display_name)
        )
        if row.state == "ready" and self._is_intact(row):
            return pb.CreateVideoResponse(video=messages.video(row))
        if row.state == "ready":
            self._backend.database.videos.reopen(row.id)
            row = self._backend.database.videos.get(VideoName(row.id))
        uri = self._backend.store.upload_uri(source_key(row.id), _UPLOAD_SECONDS)
        return pb.CreateVideoResponse(video=messages.video(row), upload_uri=uri)

    def CompleteVideo(self, request: pb.CompleteVideoRequest, context: grpc.ServicerContext) -> types_pb2.Video:  # noqa: N802
        """Checks the bytes that were uploaded, builds the packet index and makes the video ready."""
        name = VideoName.parse(request.name)
        row = self._backend.database.videos.get(name)
        deadline = rpc.deadline(context)
        with self._backend.store.lock(f"videos/{row.id}/complete", rpc.timeout(deadline)):
            row = self._backend.database.videos.get(name)
            if row.state != "ready":
                row = self._complete(row, context)
        return messages.video(row)

    def GetVideo(self, request: pb.GetVideoRequest, _context: grpc.ServicerContext) -> types_pb2.Video:  # noqa: N802
        """Returns a video."""
        return messages.video(self._backend.database.videos.get(VideoName.parse(request.name)))

    def ListVideos(self, request: pb.ListVideosRequest, _context: grpc.ServicerContext) -> pb.ListVideosResponse:  # noqa: N802
        """Lists videos, newest first."""
        size, query = paging.size(request.page_size), "videos"
        rows = self._backend.database.videos.page(paging.decode(request.page_token, query), size + 1)
        videos = list(paging.fitting(map(messages.video, rows[:size])))
        token = paging.next_token(query, rows, len(videos), lambda row: paging.Cursor(row.create_time, row.id))
        return pb.ListVideosResponse(videos=videos, next_page_token=token)

    def CreateSubtitles(  # noqa: N802
        self, request: pb.CreateSubtitlesRequest, _context: grpc.ServicerContext
    ) -> types_pb2.Subtitles:
        """Stores subtitles for a video and makes them the video's default."""
        row = self._backend.ready_video(VideoName.parse(request.parent, "parent"))
        name = checks.display_name(request.display_name)
        fitted, warnings = subtitles.fit(subtitles.parse(request.content, name), row.duration, name)
        self._backend.store.put(subtitles_key(row.id, fitted.id), fitted.to_bytes())
        self._backend.database.videos.add_subtitles(row.id, fitted.id, len(fitted.cues))
        return types_pb2.Subtitles(
            name=str(SubtitlesName(row.id, fitted.id)), cue_count=len(fitted.cues), warnings=warnings
        )

    def _is_intact(self, row: VideoRow) -> bool:
        """Tells whether the bytes of a ready video are still the ones that were checked, and its index is usable."""
        stat = self._backend.store.stat(source_key(row.id))
        if stat is None or stat.version != row.source_version:
            return False
        try:
            VideoIndex.from_bytes(self._backend.store.get(index_key(row.id)))
        except (NotFound, BadIndex):  # another version of longvideo may have built it
            return False
        return True

    def _complete(self, row: VideoRow, context: grpc.ServicerContext) -> VideoRow:
        key = source_key(row.id)
        stat = self._backend.store.stat(key)
        if stat is None:
            raise FailedPrecondition(
                f"nothing was uploaded for {VideoName(row.id)}; write its bytes to the upload URI that CreateVideo "
                "gives, then call again",
                reason="UPLOAD_MISSING",
            )
        try:
            index = self._checked_index(row, stat, context)
            self._backend.store.put(index_key(row.id), index.to_bytes())
        except (InvalidArgument, FailedPrecondition, ResourceExhausted):
            self._backend.store.delete(key)
            raise
        return self._backend.database.videos.complete(row.id, index)

    def _checked_index(self, row: VideoRow, stat: ObjectStat, context: grpc.ServicerContext) -> VideoIndex:
        if stat.size != row.size_bytes:
            raise FailedPrecondition(
                f"{stat.size:,} bytes were uploaded for {VideoName(row.id)}, and {row.size_bytes:,} were announced; "
                "upload the whole file again",
                reason="UPLOAD_DIFFERS",
            )
        with self._backend.store.open(source_key(row.id)) as source:
            digest = _sha256(source, context)
            if digest != row.id:
                raise FailedPrecondition(
                    f"the bytes that were uploaded for {VideoName(row.id)} have the SHA-256 {digest}; upload the right "
                    "file, and leave it alone meanwhile",
                    reason="UPLOAD_DIFFERS",
                )
            return build_index(source)


def _sha256(source: ByteSource, context: grpc.ServicerContext) -> str:
    digest = hashlib.sha256()
    for offset in range(0, source.size, _CHUNK_BYTES):
        if not context.is_active():
            raise Cancelled("the caller has gone; call CompleteVideo again")
        digest.update(source.read(offset, min(_CHUNK_BYTES, source.size - offset)))
    return digest.hexdigest()
