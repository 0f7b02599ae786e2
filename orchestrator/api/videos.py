"""Videos and their subtitles, over gRPC."""

from __future__ import annotations

import hashlib
import re

import grpc
from google.protobuf.empty_pb2 import Empty

from longvideo import rpc, subtitles
from longvideo.errors import Cancelled, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from longvideo.resources import SubtitlesName, VideoName
from longvideo.storage import ObjectStat, index_key, source_key, subtitles_key
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from longvideo.video import BadIndex, ByteSource, VideoIndex
from orchestrator import messages, paging, pruning
from orchestrator.api import checks
from orchestrator.api.access import Access, ready
from orchestrator.api.backend import Backend
from orchestrator.db import HoldingRow, VideoRow

_SHA256 = re.compile(r"[0-9a-f]{64}")
# How long a client may take to begin its upload.
_UPLOAD_SECONDS = 6 * 3600.0
_CHUNK_BYTES = 4 * 1024 * 1024


class VideoMethods:
    """The RPCs about videos and subtitles."""

    _backend: Backend
    _access: Access

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
        held = self._backend.database.videos.create(
            self._access.tenant,
            request.sha256,
            size_bytes=request.size_bytes,
            display_name=checks.display_name(request.display_name),
        )
        if held.is_ready and self._is_intact(held.row):
            return pb.CreateVideoResponse(video=messages.video(held))
        if held.is_ready:
            self._backend.database.videos.reopen(held.id)
            held = self._access.video(VideoName(held.id))
        uri = self._backend.store.upload_uri(source_key(held.id), _UPLOAD_SECONDS)
        return pb.CreateVideoResponse(video=messages.video(held), upload_uri=uri)

    def CompleteVideo(self, request: pb.CompleteVideoRequest, context: grpc.ServicerContext) -> types_pb2.Video:  # noqa: N802
        """Checks the bytes that were uploaded, builds the packet index and makes the video ready."""
        name = VideoName.parse(request.name)
        held = self._access.video(name)
        deadline = rpc.deadline(context)
        with self._backend.store.lock(f"videos/{held.id}/complete", rpc.timeout(deadline)):
            held = self._access.video(name)
            if not held.is_ready:
                self._complete(held.holding, context)
        return messages.video(self._access.video(name))

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

    def _complete(self, holding: HoldingRow, context: grpc.ServicerContext) -> None:
        key = source_key(holding.video_id)
        stat = self._backend.store.stat(key)
        if stat is None:
            raise FailedPrecondition(
                f"nothing was uploaded for {VideoName(holding.video_id)}; write its bytes to the upload URI that "
                "CreateVideo gives, then call again",
                reason="UPLOAD_MISSING",
            )
        try:
            index = self._checked_index(holding, stat, context)
            self._backend.store.put(index_key(holding.video_id), index.to_bytes())
        except (InvalidArgument, FailedPrecondition, ResourceExhausted):
            self._backend.store.delete(key)
            raise
        self._backend.database.videos.complete(holding.tenant_id, holding.video_id, index)

    def _checked_index(self, holding: HoldingRow, stat: ObjectStat, context: grpc.ServicerContext) -> VideoIndex:
        name = VideoName(holding.video_id)
        if stat.size != holding.size_bytes:
            raise FailedPrecondition(
                f"{stat.size:,} bytes were uploaded for {name}, and {holding.size_bytes:,} were announced; "
                "upload the whole file again",
                reason="UPLOAD_DIFFERS",
            )
        self._backend.media.start()
        with self._backend.store.open(source_key(name.video_id)) as source:
            digest = _sha256(source, context)
            if digest != name.video_id:
                raise FailedPrecondition(
                    f"the bytes that were uploaded for {name} have the SHA-256 {digest}; upload the right "
                    "file, and leave it alone meanwhile",
                    reason="UPLOAD_DIFFERS",
                )
            return self._backend.media.build_index(source, check=lambda: _check_caller(context))


def _sha256(source: ByteSource, context: grpc.ServicerContext) -> str:
    digest = hashlib.sha256()
    for offset in range(0, source.size, _CHUNK_BYTES):
        _check_caller(context)
        digest.update(source.read(offset, min(_CHUNK_BYTES, source.size - offset)))
    return digest.hexdigest()


def _check_caller(context: grpc.ServicerContext) -> None:
    if not context.is_active():
        raise Cancelled("the caller has gone; call CompleteVideo again")
