"""Where a client writes a video's bytes: to one URI, or in parts, as far as they are not there yet."""

from __future__ import annotations

import math
import time
from typing import Final

from longvideo.errors import InvalidArgument, NotFound, UploadChanged
from longvideo.resources import VideoName
from longvideo.settings import Settings
from longvideo.storage import PartUploads, StoredPart, upload_key
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import messages
from orchestrator.api.backend import Backend
from orchestrator.tables import HoldingRow

MAX_PARTS: Final = 1000
# What S3 allows for one part.
_MAX_PART_BYTES: Final = 5 << 30
_MEBIBYTE: Final = 1 << 20
# Beginning an upload takes a few requests to the storage.
_LOCK_SECONDS: Final = 30.0


def part_bytes(size: int, settings: Settings) -> int:
    """Returns how long the parts of a file are: as the settings say, or longer, so that there are not too many."""
    return max(settings.upload_part_bytes, math.ceil(size / MAX_PARTS / _MEBIBYTE) * _MEBIBYTE)


def check_size(size: int) -> None:
    """Raises InvalidArgument for the size of a file that cannot be stored."""
    if size <= 0:
        raise InvalidArgument(f"size_bytes is {size}; an empty file is not a video", field="size_bytes")
    if size > MAX_PARTS * _MAX_PART_BYTES:
        raise InvalidArgument(
            f"size_bytes is {size:,}; a video has at most {MAX_PARTS * _MAX_PART_BYTES:,} bytes", field="size_bytes"
        )


class Uploads:
    """What clients are told about their uploads, and how those end."""

    def __init__(self, backend: Backend) -> None:
        self._store = backend.store
        self._settings = backend.settings
        self._database = backend.database

    def wanted(self, tenant: str, video_id: str) -> pb.CreateVideoResponse:
        """Returns what is still to be written; nothing when all is there. The video is left for the caller to add."""
        holding = self._database.uploads.asked(tenant, video_id)
        key = upload_key(tenant, video_id)
        response = pb.CreateVideoResponse()
        found = self._store.stat(key)
        if found is not None and found.size == holding.size_bytes:
            return response
        parts = self._store.parts
        if parts is not None:
            until = time.time() + self._settings.upload_url_seconds
            response.expire_time.CopyFrom(messages.timestamp(until))
        if parts is None or holding.size_bytes <= self._settings.upload_parts_above:
            response.upload_uri = self._store.upload_uri(key, self._settings.upload_url_seconds)
            return response
        # One client begins at a time, and no clean-up takes a new upload for one that nobody knows of.
        with self._store.lock(key, _LOCK_SECONDS):
            upload, there = self._begun(parts, tenant, video_id)
        for number, (offset, size) in enumerate(self._ranges(holding), 1):
            if number not in there or there[number].size != size:
                uri = parts.uri(key, upload, number, self._settings.upload_url_seconds)
                response.parts.add(number=number, offset=offset, size_bytes=size, uri=uri)
        return response

    def _begun(self, parts: PartUploads, tenant: str, video_id: str) -> tuple[str, dict[int, StoredPart]]:
        """Returns the upload that is under way, begun anew when there is none, with its parts."""
        key, upload = upload_key(tenant, video_id), self._database.uploads.current(tenant, video_id)
        if upload:
            try:
                return upload, parts.written(key, upload)
            except NotFound:  # the storage has given it up by itself
                pass
        upload = parts.begin(key)
        self._database.uploads.begun(tenant, video_id, upload)
        return upload, {}

    def _ranges(self, holding: HoldingRow) -> list[tuple[int, int]]:
        size = part_bytes(holding.size_bytes, self._settings)
        return [(at, min(size, holding.size_bytes - at)) for at in range(0, holding.size_bytes, size)]

    def put_together(self, holding: HoldingRow) -> None:
        """Makes the parts of an upload an object, unless that was done. Raises UploadChanged when parts are missing."""
        parts = self._store.parts
        if parts is None or not holding.upload_id:
            return
        key = upload_key(holding.tenant_id, holding.video_id)
        try:
            there = parts.written(key, holding.upload_id)
        except NotFound:  # they are one already, or nothing
            return
        ranges = self._ranges(holding)
        missing = [n for n, (_, size) in enumerate(ranges, 1) if n not in there or there[n].size != size]
        if missing:
            raise UploadChanged(
                f"{len(missing)} of {len(ranges)} parts of {VideoName(holding.video_id)} are missing; write them to "
                "the URIs that CreateVideo gives, then call again",
                reason="UPLOAD_INCOMPLETE",
            )
        parts.complete(key, holding.upload_id, {number: there[number].version for number in range(1, len(ranges) + 1)})

    def remove(self, holding: HoldingRow) -> None:
        """Removes what was uploaded."""
        key = upload_key(holding.tenant_id, holding.video_id)
        if self._store.parts is not None and holding.upload_id:
            self._store.parts.abort(key, holding.upload_id)
            self._database.uploads.begun(holding.tenant_id, holding.video_id, "")
        self._store.delete(key)
