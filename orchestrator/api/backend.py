"""What the parts of the API work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longvideo.prices import PriceBook
from longvideo.settings import Settings
from longvideo.storage import ObjectStore
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from longvideo.video.sandbox import MediaReader
from orchestrator.store import Database


@dataclass(frozen=True)
class Backend:
    """The database, the object storage, the caption service, the settings, the ways to workers and videos, the prices.

    `nudge` wakes so many workers; when that gets lost, a sweep wakes them. `prices` is None without a price book.
    """

    database: Database
    store: ObjectStore
    captions: CaptionServiceStub
    settings: Settings
    nudge: Callable[[int], None]
    media: MediaReader
    prices: PriceBook | None = None
