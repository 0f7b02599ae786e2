"""Deleting what is not needed any more: rows in the database, then the objects that belonged to them.

Services may run meanwhile. Nothing is deleted of a job that has not ended, of a video with such a job, or of what
another tenant has.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from longvideo.errors import NotFound
from longvideo.storage import ObjectStore, subtitles_key, verifying_key
from orchestrator.store import Database
from orchestrator.store.retention import Unneeded

Kind = Literal["jobs", "videos", "captions"]


# Completing a video holds this lock for as long as it takes to read the video once.
_LOCK_SECONDS = 600.0


@dataclass(frozen=True)
class Pruned:
    """What is deleted, or would be, of one kind: how many, what that says, and how many bytes they have."""

    kind: Kind
    count: int
    detail: str
    size_bytes: int


def prune(
    database: Database, store: ObjectStore, before: float, *, tenant: str | None, kinds: Collection[str], really: bool
) -> Iterator[Pruned]:
    """Deletes what is older than a moment, of a tenant or of all, and yields what that was, kind by kind.

    Unless `really`, nothing is deleted.
    """
    if "jobs" in kinds:
        old = database.retention.old_jobs(before, tenant)
        if really:
            database.retention.drop_jobs(before, tenant)
        yield Pruned("jobs", old.jobs, f"with {old.episodes:,} questions", old.size_bytes)
    if "videos" in kinds:
        yield _prune_videos(database, store, before, tenant, really=really)
    if "captions" in kinds:
        yield _prune_captions(database, store, before, tenant, really=really)


def _prune_videos(database: Database, store: ObjectStore, before: float, tenant: str | None, *, really: bool) -> Pruned:
    old = database.retention.old_videos(before, tenant)
    unneeded = database.retention.unneeded_after(old)
    size = sum(_size(store, key) for video_id in unneeded for key in _keys(store, video_id))
    if really:
        remove(database, store, database.retention.drop_videos(before, tenant))
        for video_id in database.retention.deleting():  # where somebody was stopped in between
            remove(database, store, Unneeded([video_id], []))
    return Pruned("videos", len(old), f"in all, {len(unneeded):,} that nobody else has", size)


def _prune_captions(
    database: Database, store: ObjectStore, before: float, tenant: str | None, *, really: bool
) -> Pruned:
    count = size = videos = 0
    for video_id, keys in itertools.groupby(store.list("captions/"), key=lambda key: key.split("/")[1]):
        if not database.retention.may_lose_captions(video_id, tenant):
            continue
        old = [key for key in keys if _is_older(store, key, before)]
        count, videos = count + len(old), videos + bool(old)
        size += sum(_size(store, key) for key in old)
        if really:
            for key in old:
                store.delete(key)
    return Pruned("captions", count, f"of {videos:,} videos", size)


def remove(database: Database, store: ObjectStore, unneeded: Unneeded, timeout: float = _LOCK_SECONDS) -> None:
    """Deletes the objects of what nobody needs, unless somebody has come to need it again."""
    for video_id, subtitles_id in unneeded.subtitles:
        store.delete(subtitles_key(video_id, subtitles_id))
    for video_id in unneeded.videos:
        # Whoever brings the same video again makes it ready under the same lock.
        with store.lock(verifying_key(video_id), timeout):
            if database.retention.is_deleting(video_id):
                for key in list(_keys(store, video_id)):
                    store.delete(key)
                database.retention.deleted(video_id)


def _keys(store: ObjectStore, video_id: str) -> Iterator[str]:
    return itertools.chain(store.list(f"videos/{video_id}/"), store.list(f"captions/{video_id}/"))


def _size(store: ObjectStore, key: str) -> int:
    stat = store.stat(key)
    return stat.size if stat is not None else 0


def _is_older(store: ObjectStore, key: str, before: float) -> bool:
    """Tells whether a caption was made before a moment; one that cannot be read is as good as none."""
    try:
        made = json.loads(store.get(key))["create_time"]
    except NotFound:
        return False
    except (ValueError, KeyError, TypeError):
        return True
    return not isinstance(made, int | float) or made < before
