"""Deleting what is not needed any more, from the database and the storage together."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from longvideo.segments import Segment
from longvideo.storage import DirectoryStore, ObjectStore, caption_key, index_key, source_key, subtitles_key
from longvideo.testing import MemoryStore
from orchestrator import pruning
from orchestrator.db import sqlite_url
from orchestrator.store import Database
from tests.contract.database import VIDEO, add_video, submit

SOON = time.time() + 3600
CAPTION = caption_key(VIDEO.video_id, 4, "d", Segment((1, 2)))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database with one video."""
    made = Database(sqlite_url(tmp_path / "longvideo.db"))
    add_video(made)
    yield made
    made.close()


@pytest.fixture(params=["directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """A store with the objects of the video."""
    made = DirectoryStore(tmp_path / "objects") if request.param == "directory" else MemoryStore()
    for key in (source_key(VIDEO.video_id), index_key(VIDEO.video_id), subtitles_key(VIDEO.video_id, "s")):
        made.put(key, b"x" * 10)
    made.put(CAPTION, json.dumps({"create_time": 100.0}).encode())
    return made


def prune(database: Database, store: ObjectStore, kind: pruning.Kind, before: float = SOON, **options: object) -> str:
    """Returns what is deleted of one kind, in words."""
    chosen = {"tenant": None, "really": True, **options}
    (done,) = pruning.prune(database, store, before, kinds=[kind], **chosen)  # type: ignore[arg-type]
    return f"{done.count} {done.detail}, {done.size_bytes}"


def test_video_goes_with_its_objects(database: Database, store: ObjectStore) -> None:
    """A video that nobody has any more leaves nothing in the storage."""
    size = 30 + len(json.dumps({"create_time": 100.0}))
    for really in (False, True):
        assert prune(database, store, "videos", really=really) == f"1 in all, 1 that nobody else has, {size}"
        assert bool(list(store.list(""))) is not really
    assert prune(database, store, "videos") == "0 in all, 0 that nobody else has, 0"


def test_video_that_another_has(database: Database, store: ObjectStore) -> None:
    """Objects of a video that another tenant has stay, but for subtitles of nobody else."""
    database.tenants.create("other")
    add_video(database, VIDEO, "other")
    database.videos.add_subtitles("default", VIDEO.video_id, "s", 1)
    assert prune(database, store, "videos", tenant="default") == "1 in all, 0 that nobody else has, 0"
    assert sorted(store.list("")) == [CAPTION, index_key(VIDEO.video_id), source_key(VIDEO.video_id)]


def test_who_was_stopped_in_between(database: Database, store: ObjectStore) -> None:
    """Objects that were left behind go the next time, unless the video was brought again meanwhile."""
    unneeded = database.retention.give_up("default", VIDEO.video_id)
    prune(database, store, "videos", 0.0)
    assert list(store.list("")) == []
    add_video(database)
    store.put(source_key(VIDEO.video_id), b"again")
    pruning.remove(database, store, unneeded)
    assert store.get(source_key(VIDEO.video_id)) == b"again"


def test_captions_by_age(database: Database, store: ObjectStore) -> None:
    """Captions go by the time of their making, and those of a video that is asked about stay."""
    fresh = CAPTION + "-1"
    store.put(fresh, json.dumps({"create_time": 300.0}).encode())
    store.put(CAPTION + "-2", b"damaged")
    job = submit(database)
    assert prune(database, store, "captions", 200.0).startswith("0 of 0 videos")
    database.jobs.cancel(job)
    assert prune(database, store, "captions", 200.0, really=False).startswith("2 of 1 videos")
    prune(database, store, "captions", 200.0)
    assert list(store.list("captions/")) == [fresh]


def test_jobs(database: Database, store: ObjectStore) -> None:
    """Jobs that have ended go, and objects stay."""
    database.jobs.cancel(submit(database, 2))
    submit(database)
    assert prune(database, store, "jobs").startswith("1 with 2 questions, ")
    assert len(database.jobs.page(None, "", None, 10)) == 1
    assert len(list(store.list(""))) == 4
