"""How bytes become a video: their digest is computed, their index is built, and a copy is kept that nobody can change.

The clients write to a place of their own (`uploads/…`), and what they wrote is copied away from there, on the storage's
side, in exactly the version that was checked. So a URL that is used once more later changes no video.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import grpc

from longvideo import rpc
from longvideo.errors import (
    BadMedia,
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    StorageUnavailable,
    UploadChanged,
)
from longvideo.resources import VideoName
from longvideo.storage import index_key, source_key, upload_key, verifying_key
from longvideo.video import BadIndex, ByteSource, VideoIndex
from orchestrator.api.access import Access
from orchestrator.api.backend import Backend
from orchestrator.api.turns import Turns
from orchestrator.api.uploads import Uploads, check_size
from orchestrator.messages import HeldVideo
from orchestrator.tables import HoldingRow, VideoRow

_CHUNK_BYTES: Final = 4 * 1024 * 1024
_CHUNKS_AHEAD: Final = 16

Check = Callable[[], None]


class Verification:
    """Makes videos ready. Threads share it."""

    def __init__(self, backend: Backend, access: Access) -> None:
        self._backend = backend
        self._access = access
        self._uploads = Uploads(backend)
        settings = backend.settings
        self._turns = Turns(settings.verification_concurrency, settings.verification_queue)

    def upload(self, name: VideoName, context: grpc.ServicerContext) -> HeldVideo:
        """Makes a video ready that the caller has uploaded, unless it is. Raises what CompleteVideo answers."""
        check = _check_of(context)
        held = self._access.video(name)
        if held.is_ready:
            return held
        with self._turns.taken("checked", check), self._lock(held.id, context):
            held = self._access.video(name)
            if not held.is_ready:
                try:
                    self._upload(held, check)
                except (InvalidArgument, FailedPrecondition, ResourceExhausted) as error:
                    if error.reason not in {"UPLOAD_MISSING", "UPLOAD_INCOMPLETE"}:
                        self._uploads.remove(held.holding)
                    raise
                # What cannot be removed now, a clean-up removes.
                with contextlib.suppress(StorageUnavailable):
                    self._backend.store.delete(upload_key(held.holding.tenant_id, held.id))
        return self._access.video(name)

    def _upload(self, held: HeldVideo, check: Check) -> None:
        name, store = VideoName(held.id), self._backend.store
        key = upload_key(held.holding.tenant_id, held.id)
        self._uploads.put_together(held.holding)
        try:
            source = store.open(key)
        except NotFound:
            raise FailedPrecondition(
                f"nothing was uploaded for {name}; write its bytes to the upload URI that CreateVideo gives, then call "
                "again",
                reason="UPLOAD_MISSING",
            ) from None
        with source:
            _check_bytes(held.holding, source, check)
            index = None if self.is_intact(held.row) else self._index(source, held.holding.display_name, check)
            self._keep(held, index, lambda target: store.copy(key, source.version, target))

    def object(self, bucket: str, key: str, display_name: str, context: grpc.ServicerContext) -> HeldVideo:
        """Makes an object of another bucket a video. Raises what RegisterVideo answers."""
        imports, check, database = self._backend.store.imports, _check_of(context), self._backend.database
        if imports is None:
            raise FailedPrecondition(
                "this server keeps its data in a directory, beside which there are no buckets; upload the video",
                reason="NO_BUCKETS",
            )
        with self._turns.taken("checked", check), imports.open(bucket, key) as source:
            check_size(source.size)
            video_id = _sha256(source, check)
            with self._lock(video_id, context):
                row = database.videos.row(video_id)
                index = None if row and self.is_intact(row) else self._index(source, source.name, check)
                held = database.videos.create(
                    self._access.tenant, video_id, size_bytes=source.size, display_name=display_name
                )
                if index is not None or not held.is_ready:
                    self._keep(held, index, lambda target: imports.copy(bucket, key, source.version, target))
        return self._access.video(VideoName(video_id))

    def is_intact(self, row: VideoRow) -> bool:
        """Tells whether a video is ready, its bytes are still the ones that were checked, and its index is usable."""
        if row.state != "ready":
            return False
        stat = self._backend.store.stat(source_key(row.id))
        if stat is None or stat.version != row.source_version:
            return False
        try:
            VideoIndex.from_bytes(self._backend.store.get(index_key(row.id)))
        except (NotFound, BadIndex):  # another version of longvideo may have built it
            return False
        return True

    def _index(self, source: ByteSource, shown: str, check: Check) -> VideoIndex:
        try:
            return self._backend.media.build_index(source, check=check)
        except BadMedia as error:
            said = error.message.removeprefix(f"{source.name} ")
            if not shown or said == error.message:
                raise
            # Who sent it knows it by another name than the storage does.
            raise BadMedia(f"{shown} {said}", reason=error.reason, **error.metadata) from error

    def _keep(self, held: HeldVideo, index: VideoIndex | None, copy: Callable[[str], None]) -> None:
        """Stores the bytes that were checked, and their index, and makes the video ready.

        Without an index they are stored already, by another tenant perhaps.
        """
        store, videos = self._backend.store, self._backend.database.videos
        if index is None:
            videos.accept(held.holding.tenant_id, held.id)
            return
        copy(source_key(held.id))
        copied = store.stat(source_key(held.id))
        if copied is None or copied.size != index.size:
            raise UploadChanged(f"the copy of {VideoName(held.id)} is not what was checked; upload it again")
        # A copy has a version of its own.
        index = dataclasses.replace(index, version=copied.version)
        store.put(index_key(held.id), index.to_bytes())
        videos.complete(held.holding.tenant_id, held.id, index)

    def _lock(self, video_id: str, context: grpc.ServicerContext) -> AbstractContextManager[None]:
        return self._backend.store.lock(verifying_key(video_id), rpc.timeout(rpc.deadline(context)))


def _check_of(context: grpc.ServicerContext) -> Check:
    def check() -> None:
        if not context.is_active():
            raise Cancelled("the caller has gone; call again")

    return check


def _check_bytes(holding: HoldingRow, source: ByteSource, check: Check) -> None:
    name = VideoName(holding.video_id)
    if source.size != holding.size_bytes:
        raise UploadChanged(
            f"{source.size:,} bytes were uploaded for {name}, and {holding.size_bytes:,} were announced; "
            "upload the whole file again"
        )
    digest = _sha256(source, check)
    if digest != holding.video_id:
        raise UploadChanged(
            f"the bytes that were uploaded for {name} have the SHA-256 {digest}; upload the right file, and leave it "
            "alone meanwhile"
        )


def _sha256(source: ByteSource, check: Check) -> str:
    digest = hashlib.sha256()
    ranges = [(at, min(_CHUNK_BYTES, source.size - at)) for at in range(0, source.size, _CHUNK_BYTES)]
    for first in range(0, len(ranges), _CHUNKS_AHEAD):
        batch = ranges[first : first + _CHUNKS_AHEAD]
        source.prefetch(batch)
        for offset, length in batch:
            check()
            digest.update(source.read(offset, length))
    return digest.hexdigest()
