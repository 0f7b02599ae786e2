"""What the parts of the API work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longvideo.errors import FailedPrecondition
from longvideo.resources import VideoName
from longvideo.settings import Settings
from longvideo.storage import ObjectStore
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from orchestrator.db import VideoRow
from orchestrator.store import Database


@dataclass(frozen=True)
class Backend:
    """The database, the object storage, the caption service, the settings, and the way to the workers.

    `enqueue` sends the name of an episode to the workers; a name that gets lost is found by a sweep.
    """

    database: Database
    store: ObjectStore
    captions: CaptionServiceStub
    settings: Settings
    enqueue: Callable[[str], None]

    def ready_video(self, name: VideoName) -> VideoRow:
        """Returns a video. Raises NotFound, and FailedPrecondition while it is not ready."""
        row = self.database.videos.get(name)
        if row.state != "ready":
            raise FailedPrecondition(
                f"{name} is not ready; write its bytes to the upload URI, then call CompleteVideo",
                reason="VIDEO_NOT_READY",
                name=str(name),
            )
        return row
