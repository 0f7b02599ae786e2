"""A database that is away for a moment, or whose answer gets lost, while an episode is recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from longvideo.errors import StorageFull, StorageUnavailable
from longvideo.resources import JobName
from longvideo.segments import Segment
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator.db import sqlite_url
from orchestrator.journal import DatabaseJournal
from orchestrator.leases import Abandoned, Lease
from orchestrator.protocol import Answer, GetCaption
from orchestrator.store import Database, LeaseLost
from orchestrator.store.calls import Place
from orchestrator.store.work import Taken
from orchestrator.transcript import Round
from tests.contract.database import VIDEO, add_video, call, captioned, decided, kinds, submit, take
from tests.contract.orchestrator_world import World


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with a ready video."""
    is_sqlite = request.param == "sqlite"
    url = sqlite_url(tmp_path / "longvideo.db") if is_sqlite else request.getfixturevalue("postgres_url")
    with contextlib.closing(Database(url)) as opened:
        add_video(opened)
        yield opened


Failing = Callable[[str, int], None]
FAILURES = {
    "before": StorageUnavailable("the database is away"),
    "full": StorageFull("no space left"),
    "after": StorageUnavailable("the answer got lost"),
}


@pytest.fixture
def failing(database: Database, monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Returns what makes the next writes fail: "before" they do anything, as "full", or "after" they took effect."""
    left: list[str] = []

    def make(write: Callable[[], contextlib.AbstractContextManager[Any]]) -> Any:
        @contextlib.contextmanager
        def failing_write() -> Iterator[Any]:
            when = left.pop() if left else ""
            if when in {"before", "full"}:
                raise FAILURES[when]
            with write() as session:
                yield session
            if when == "after":
                raise FAILURES[when]

        return failing_write

    for name in ("write", "change"):
        monkeypatch.setattr(database.engine, name, make(getattr(database.engine, name)))
    return lambda when, times: left.extend([when] * times)


def journal(database: Database, taken: Taken, lease: Lease | None = None) -> DatabaseJournal:
    """Returns its journal."""
    return DatabaseJournal(database, taken.held, lease or Lease(taken.held.owner), taken.writer)


def calls(database: Database, job: JobName) -> int:
    """Returns how many calls are recorded."""
    return len(database.calls.page(Place(job.job_id), None, 100))


@pytest.mark.parametrize("when", ["before", "full", "after"])
def test_what_was_done_is_recorded_once(database: Database, failing: Failing, when: str) -> None:
    """Every step of an episode is recorded once, however often the database was away, or its answer got lost."""
    job = submit(database)
    taken = take(database, job)
    kept = journal(database, taken)
    failing(when, 1)
    kept.opened(captioned(1), 1, 4)
    failing(when, 2)
    kept.decided(decided(1), [call()])
    failing(when, 2)
    step = Round(1, "thought 1", GetCaption(Segment((2, 1))), "a caption", start_time=1.0, end_time=2.0)
    kept.finished(step, [call()])
    failing(when, 1)
    kept.failed_calls(2, [call()])

    assert kinds(database, job) == ["episode_started", "caption_ready", "round_decided", "round_finished"]
    assert calls(database, job) == 4
    assert [step.finished for step in kept.rounds()] == [True]


def test_calls_of_who_lost_the_episode_are_recorded(database: Database) -> None:
    """A worker whose lease ran out while it asked a model changes nothing, and its call still counts."""
    job = submit(database)
    late = take(database, job, owner="late", seconds=-1)
    database.work.reclaim(database.work.expired())
    take(database, job, owner="w2")

    with pytest.raises(LeaseLost):
        journal(database, late).decided(decided(1), [call()])
    assert calls(database, job) == 1
    assert journal(database, late).rounds() == []


def test_stopping_worker_does_not_wait_for_the_database(database: Database, failing: Failing) -> None:
    """A worker that is to stop while the database is away stops."""
    taken = take(database, submit(database))
    lease = Lease("w1")
    lease.end(Abandoned)
    failing("before", 100)
    with pytest.raises(Abandoned):
        journal(database, taken, lease).decided(decided(1), [call()])


def test_answer_that_was_recorded_is_not_asked_for_again(tmp_path: Path) -> None:
    """An episode whose worker died between its answer and its end is ended by the next one, without a model."""
    world = World(tmp_path / "world", work=False)
    add_video(world.database)
    job = world.submit(str(VIDEO))
    taken = world.database.work.take("dead", seconds=-1)
    assert taken is not None
    kept = journal(world.database, taken)
    kept.began([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
    step = Round(1, "known", Answer("It is 42."))
    kept.decided(step, [])
    step.end_time = 2.0
    kept.finished(step, [])
    world.database.release_all_leases()
    world.runner.run(lambda _: None)

    done = world.stub.GetJob(pb.GetJobRequest(name=job.name))
    assert (done.state, done.episodes[0].answer) == (pb.Job.STATE_SUCCEEDED, "It is 42.")
    assert (done.episodes[0].round_count, world.reasoner.requests) == (1, [])
    world.close()


def test_full_store_makes_an_episode_wait(tmp_path: Path) -> None:
    """An episode whose caption finds no room on the disk says so, and waits until there is some."""
    world = World(tmp_path / "world", patience=3600)
    add_video(world.database)

    def caption(_: tuple[int, ...]) -> str:
        raise StorageFull("no space left")

    usual, world.services.caption = world.services.caption, caption
    job = world.submit(str(VIDEO))
    event = next(event for event in world.watch(job) if event.WhichOneof("event") == "episode_waiting")
    assert "no space left" in event.episode_waiting.reason
    world.services.caption = usual
    world.database.release_all_leases()  # as if the time had passed
    world.runner.run(lambda _: None)
    assert world.finish(job).state == pb.Job.STATE_SUCCEEDED
    world.close()
