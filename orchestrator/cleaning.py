"""Removes what nobody will: uploads that were given up, with their parts and announcements, and dead processes' locks.

Nothing is removed of an upload that is being checked, and nothing of one that its client has asked about lately.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Final

from longvideo.errors import DeadlineExceeded
from longvideo.storage import UPLOADS, ObjectStore, index_key, source_key, upload_key, verifying_key
from orchestrator.store import Database

logger = logging.getLogger(__name__)

CLEAN_SECONDS: Final = 600.0
"""How often somebody looks."""

# How many abandoned uploads one look removes; the next one goes on.
_LIMIT: Final = 1000


class Cleaner:
    """Cleans up. Any number of processes may do it at one time.

    `expiry` is after how many seconds without a word from its client an upload is abandoned.
    """

    def __init__(self, database: Database, store: ObjectStore, expiry: float) -> None:
        self._uploads, self._videos = database.uploads, database.videos
        self._store = store
        self._expiry = expiry

    def clean(self) -> int:
        """Removes what is left, and returns how many uploads, objects, uploads in parts and locks that were."""
        count = sum(self._abandoned()) + sum(self._objects()) + sum(self._parts()) + self._store.drop_dead_locks()
        if count:
            logger.info("removed %d things that uploads and killed processes had left", count)
        return count

    def _abandoned(self) -> Iterator[bool]:
        before = time.time() - self._expiry
        parts = self._store.parts
        for holding in self._uploads.abandoned(before, _LIMIT):
            with self._unless_held(verifying_key(holding.video_id)) as free:
                if free and self._uploads.drop(holding.tenant_id, holding.video_id, before):
                    key = upload_key(holding.tenant_id, holding.video_id)
                    if parts is not None and holding.upload_id:
                        parts.abort(key, holding.upload_id)
                    self._store.delete(key)
                    self._forget(holding.video_id)
                    yield True

    def _forget(self, video_id: str) -> None:
        """Removes what a process had stored of a video that was killed before the video was ready."""
        if self._videos.row(video_id) is None:
            for key in (source_key(video_id), index_key(video_id)):
                self._store.delete(key)

    def _objects(self) -> Iterator[bool]:
        """Removes what nobody waits for: it came after its video was ready, or a process was killed."""
        for key in self._store.list(UPLOADS):
            tenant, _, video_id = key.removeprefix(UPLOADS).partition("/")
            if self._uploads.current(tenant, video_id) is not None:
                continue
            with self._unless_held(verifying_key(video_id)) as free:
                if free and self._uploads.current(tenant, video_id) is None:
                    self._store.delete(key)
                    yield True

    def _parts(self) -> Iterator[bool]:
        """Gives up uploads in parts that no client knows of, and copies that a killed process did not end."""
        parts = self._store.parts
        if parts is None:
            return
        for key, upload in parts.unfinished(""):
            area, _, rest = key.partition("/")
            if area == "uploads":
                tenant, _, video_id = rest.partition("/")
                if self._uploads.current(tenant, video_id) == upload:
                    continue
                # Held from before an upload is begun until it is known.
                with self._unless_held(key) as free:
                    if free and self._uploads.current(tenant, video_id) != upload:
                        parts.abort(key, upload)
                        yield True
            elif area == "videos":
                with self._unless_held(verifying_key(rest.partition("/")[0])) as free:
                    if free:
                        parts.abort(key, upload)
                        yield True

    @contextlib.contextmanager
    def _unless_held(self, key: str) -> Iterator[bool]:
        """Holds a lock and gives True, or False when somebody else holds it."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._store.lock(key, 0))
            except DeadlineExceeded:
                yield False
                return
            yield True
