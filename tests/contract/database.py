"""What the orchestrator's database does: a suite to run against each kind of it.

Inherit from `DatabaseSuite` and override the fixture `databases`.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from longvideo.auth import DEFAULT_TENANT
from longvideo.errors import AlreadyExists, Cancelled, FailedPrecondition, NotFound, ResourceExhausted
from longvideo.resources import EpisodeName, JobName, VideoName
from longvideo.segments import Segment
from longvideo.testing.services import segment
from longvideo.usage import Call
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from longvideo.video import VideoIndex
from orchestrator import messages
from orchestrator.budget import Purse
from orchestrator.journal import DatabaseJournal
from orchestrator.leases import Lease
from orchestrator.paging import Cursor
from orchestrator.protocol import Answer, GetCaption, VideoQA
from orchestrator.spec import BudgetExhausted
from orchestrator.store import Database, LeaseLost
from orchestrator.store.calls import Place, Purpose
from orchestrator.store.costs import Scope
from orchestrator.store.spending import NOTHING, Standing, no_price
from orchestrator.store.work import End, Taken
from orchestrator.tables import CallRow, EpisodeRow, HoldingRow, JobRow
from orchestrator.tools import Captioned
from orchestrator.transcript import Round

VIDEO = VideoName("ab" * 32)
WIDTH = 4
ANSWERED = End("answered", "answered", answer="B", choice="B")
FAILED = End("failed", "error", code=14, reason="MODEL_UNAVAILABLE", message="no model server answers")

Databases = Callable[[], Database]


def index(*, frames: int = 6400, duration: float = 400.0) -> VideoIndex:
    """Returns the index of a video without its packets."""
    told: dict[str, Any] = {
        "size": 1000,
        "version": "1000-1",
        "container": "mp4",
        "codec": "h264",
        "width": 640,
        "height": 360,
        "orientation": 0,
        "duration": duration,
        "warnings": ("a warning",),
        "times": np.arange(frames) * (duration / frames),
    }
    nothing = np.zeros(0, np.int64)
    return VideoIndex(**{field.name: told.get(field.name, nothing) for field in fields(VideoIndex)})


def add_video(database: Database, name: VideoName = VIDEO, tenant: str = DEFAULT_TENANT) -> None:
    """Makes a ready video of 400 s."""
    database.videos.create(tenant, name.video_id, size_bytes=1000, display_name="film.mp4")
    database.videos.complete(tenant, name.video_id, index())


def job_spec(questions: int = 1, video: VideoName = VIDEO) -> pb.Job:
    """Returns a job as the API hands it over."""
    spec = pb.Job(
        video=str(video), questions=[pb.Question(text=f"Question {number}?") for number in range(1, questions + 1)]
    )
    spec.limits.max_rounds = 30
    spec.limits.max_duration.seconds = 3600
    return spec


def submit(
    database: Database,
    questions: int = 1,
    *,
    request_id: str = "",
    fingerprint: str = "f",
    video: VideoName = VIDEO,
    tenant: str = DEFAULT_TENANT,
    priority: types_pb2.Priority.ValueType = types_pb2.PRIORITY_INTERACTIVE,
    label: str = "",
) -> JobName:
    """Submits a job and returns its name."""
    spec = job_spec(questions, video)
    spec.priority, spec.label = priority, label
    row, _ = database.jobs.submit(
        spec,
        tenant=tenant,
        video_id=video.video_id,
        tree_width=WIDTH,
        request_id=request_id,
        fingerprint=fingerprint,
        traces=lambda episodes: [f"trace of {episode}" for episode in episodes],
    )
    return JobName(row.id)


def episode(job: JobName, number: int = 1) -> EpisodeName:
    """Returns the name of an episode."""
    return EpisodeName(job.job_id, str(number))


def take(database: Database, job: JobName, number: int = 1, owner: str = "w1", seconds: float = 60.0) -> Taken:
    """Takes this episode up, which must be possible, by keeping all others away for a moment."""
    database.work.reclaim(database.work.expired())
    keep_away(database, job, number, 1e10)
    taken = database.work.take(owner, seconds)
    keep_away(database, job, number, -1e10)
    assert taken is not None
    assert (taken.held.job_id, taken.held.number) == (job.job_id, number)
    return taken


def keep_away(database: Database, job: JobName, number: int, seconds: float) -> None:
    """Makes all episodes but one wait longer."""
    others = sa.or_(EpisodeRow.job_id != job.job_id, EpisodeRow.number != number)
    with database.engine.write() as session:
        session.execute(sa.update(EpisodeRow).where(others).values(not_before=EpisodeRow.not_before + seconds))


def can_be_taken(database: Database) -> bool:
    """Tells whether there is anything to take up, also from dead workers."""
    database.work.reclaim(database.work.expired())
    return database.work.due(1) == 1


def taken_in_turn(database: Database) -> list[Taken]:
    """Takes everything up that can be, and returns it in that order."""
    return list(iter(lambda: database.work.take("w"), None))


def accepted(action: Callable[[], object]) -> bool:
    """Tells whether something was not too much."""
    try:
        action()
    except ResourceExhausted:
        return False
    return True


def journal(database: Database, taken: Taken) -> DatabaseJournal:
    """Returns the journal of an episode that was taken up."""
    return DatabaseJournal(database, taken.held, Lease(taken.held.owner), taken.writer)


def call(model: str = "m", **changes: object) -> Call:
    """Returns a model call."""
    made = Call("reason", model, "http://x/v1", "h800", 1, 1000.0, 2.0, "ok", 100, 40, 10)
    return replace(made, **changes)  # type: ignore[arg-type]


OUTSIDE = Purpose(DEFAULT_TENANT, "v")
"""What calls are for that no job made."""


def purpose(job_id: str, episode: int) -> Purpose:
    """Returns what the calls of an episode are for."""
    return Purpose(DEFAULT_TENANT, "v", "", job_id, episode)


def captioned(number: int) -> Captioned:
    """Returns a high-level caption."""
    caption = types_pb2.Caption(segment=segment((number,), WIDTH), text=f"part {number}", model="c")
    return Captioned(caption, False, (call(role="caption"),))


def decided(number: int, action: GetCaption | VideoQA | Answer | None = None) -> Round:
    """Returns a round that is not finished."""
    return Round(number, f"thought {number}", action or GetCaption(Segment((2, number))), start_time=float(number))


def finished(step: Round, observation: str = "seen") -> Round:
    """Returns a round with its result."""
    return replace(step, observation=observation, end_time=step.start_time + 1)


def events(database: Database, job: JobName) -> list[pb.JobEvent]:
    """Returns all events of a job."""
    return database.jobs.events(job.job_id, 0, 10_000)


def kinds(database: Database, job: JobName) -> list[str | None]:
    """Returns what happened in a job, in order."""
    return [event.WhichOneof("event") for event in events(database, job)]


class DatabaseSuite:
    """The suite. Each test gets a database of its own with one ready video."""

    @pytest.fixture
    def databases(self) -> Databases:
        """Returns what opens the same database again, as another process would."""
        raise NotImplementedError

    @pytest.fixture
    def database(self, databases: Databases) -> Database:
        """A database with one video."""
        database = databases()
        add_video(database)
        return database

    # The schema

    def test_opening_twice_keeps_everything(self, database: Database, databases: Databases) -> None:
        """A database that is opened again still holds what was written."""
        assert databases().videos.get(VIDEO, DEFAULT_TENANT).is_ready

    def test_failed_write_changes_nothing(self, database: Database) -> None:
        """A transaction that fails half-way leaves no trace."""

        def fail() -> None:
            with database.engine.write() as session:
                session.execute(sa.update(HoldingRow).values(display_name="changed"))
                raise LookupError

        with pytest.raises(LookupError):
            fail()
        assert database.videos.get(VIDEO, DEFAULT_TENANT).holding.display_name == "film.mp4"

    # Videos

    def test_creating_a_video_twice(self, database: Database) -> None:
        """A pending video takes the newer size and name; a ready one stays as it is."""
        other = "cd" * 32
        database.videos.create(DEFAULT_TENANT, other, size_bytes=1, display_name="a")
        held = database.videos.create(DEFAULT_TENANT, other, size_bytes=2, display_name="b")
        assert (held.is_ready, held.holding.size_bytes, held.holding.display_name) == (False, 2, "b")
        held = database.videos.create(DEFAULT_TENANT, VIDEO.video_id, size_bytes=5, display_name="c")
        assert (held.is_ready, held.holding.size_bytes, held.holding.display_name) == (True, 1000, "film.mp4")

    def test_ready_video_says_what_its_file_says(self, database: Database) -> None:
        """A ready video has the index's numbers and warnings."""
        row = database.videos.get(VIDEO, DEFAULT_TENANT).row
        assert (row.duration, row.frame_count, row.frame_rate) == (400.0, 6400, 16.0)
        assert (row.width_px, row.height_px, row.container, row.codec) == (640, 360, "mp4", "h264")
        assert (row.warnings, row.source_version) == (["a warning"], "1000-1")

    def test_uploads_under_way(self, database: Database) -> None:
        """An upload is known, with its parts, from when it is asked for until its video is ready."""
        tenant, video = DEFAULT_TENANT, "ef" * 32
        assert database.uploads.current(tenant, video) is None
        with pytest.raises(NotFound):
            database.uploads.asked(tenant, video)
        database.videos.create(tenant, video, size_bytes=1000, display_name="film.mp4")
        assert database.uploads.current(tenant, video) == ""
        assert database.uploads.asked(tenant, video).size_bytes == 1000
        database.uploads.begun(tenant, video, "upload")
        assert database.uploads.current(tenant, video) == "upload"
        database.videos.complete(tenant, video, index())
        assert database.uploads.current(tenant, video) is None
        assert database.uploads.abandoned(time.time() + 1, 10) == []
        database.videos.reopen(video)
        assert database.uploads.current(tenant, video) == ""

    def test_abandoned_uploads(self, database: Database) -> None:
        """What nobody asked about for long is dropped, with what was announced; what others have or bring stays."""
        database.tenants.create("other")
        shared, alone = "cd" * 32, "ef" * 32
        for tenant, video in ((DEFAULT_TENANT, alone), (DEFAULT_TENANT, shared), ("other", shared)):
            database.videos.create(tenant, video, size_bytes=1000, display_name="film.mp4")
        now = time.time()
        assert database.uploads.abandoned(now - 60, 10) == []
        assert not database.uploads.drop(DEFAULT_TENANT, alone, now - 60)
        assert len(database.uploads.abandoned(now + 60, 10)) == 3
        assert len(database.uploads.abandoned(now + 60, 2)) == 2
        assert database.uploads.drop(DEFAULT_TENANT, alone, now + 60)
        assert not database.uploads.drop(DEFAULT_TENANT, alone, now + 60)
        assert database.videos.row(alone) is None
        assert database.uploads.drop(DEFAULT_TENANT, shared, now + 60)
        assert database.videos.row(shared) is not None
        database.videos.complete("other", shared, index())
        assert database.uploads.abandoned(now + 60, 10) == []

    def test_unknown_names(self, database: Database) -> None:
        """What does not exist is not found."""
        for look in (
            lambda: database.videos.get(VideoName("0" * 64), DEFAULT_TENANT),
            lambda: database.jobs.view(JobName("none")),
            lambda: database.jobs.cancel(JobName("none")),
            lambda: database.jobs.position(JobName("none")),
            lambda: database.jobs.check(JobName("none"), None),
            lambda: database.jobs.episode(EpisodeName("none", "1")),
            lambda: database.jobs.check(EpisodeName("none", "1"), None),
        ):
            with pytest.raises(NotFound, match="there is no"):
                look()
        assert database.work.take("w") is None

    def test_newest_subtitles_are_the_default(self, database: Database) -> None:
        """The subtitles that were added last are the video's own, also when they were there before."""
        for subtitles in ("s1", "s2", "s1"):
            database.videos.add_subtitles(DEFAULT_TENANT, VIDEO.video_id, subtitles, 3)
            assert database.videos.get(VIDEO, DEFAULT_TENANT).holding.subtitles == subtitles
        assert database.videos.has_subtitles(DEFAULT_TENANT, VIDEO.video_id, "s2")
        assert not database.videos.has_subtitles(DEFAULT_TENANT, VIDEO.video_id, "s3")

    def test_pages_of_videos(self, database: Database) -> None:
        """Pages go from the newest to the oldest and hold every video once, also with equal times."""
        for number in range(6):
            database.videos.create(DEFAULT_TENANT, f"{number:064x}", size_bytes=1, display_name="")
        whole = database.videos.page(DEFAULT_TENANT, None, 100)
        times = [held.holding.create_time for held in whole]
        assert times == sorted(times, reverse=True)
        pages, after = [], None
        while page := database.videos.page(DEFAULT_TENANT, after, 2):
            pages += page
            after = Cursor(page[-1].holding.create_time, page[-1].id)
        assert [held.id for held in pages] == [held.id for held in whole]
        assert len({held.id for held in pages}) == 7

    # Jobs

    def test_submitted_job_is_pending(self, database: Database) -> None:
        """A new job and its episodes are pending, in the order of its questions, and nothing has happened in it."""
        job = database.jobs.view(submit(database, 3)).message()
        assert job.state == pb.Job.STATE_PENDING
        assert [each.state for each in job.episodes] == [pb.Episode.STATE_PENDING] * 3
        assert [each.question.text for each in job.episodes] == ["Question 1?", "Question 2?", "Question 3?"]
        assert [each.name for each in job.episodes] == [f"{job.name}/episodes/{number}" for number in (1, 2, 3)]
        assert not job.HasField("end_time")
        assert database.jobs.position(JobName.parse(job.name)) == (0, False)

    def test_same_request_gives_the_same_job(self, database: Database) -> None:
        """A request id that was used gives its job again, unless the job is another."""
        request_id = str(uuid.uuid4())
        first = submit(database, request_id=request_id)
        assert submit(database, request_id=request_id) == first
        with pytest.raises(AlreadyExists, match="was used for another job"):
            submit(database, request_id=request_id, fingerprint="other")
        assert len(database.jobs.page(None, "", None, 10)) == 1

    def test_racing_requests_make_one_job(self, databases: Databases, database: Database) -> None:
        """Of many submissions with one request id at one time, one makes a job and all return it."""
        request_id, ready = str(uuid.uuid4()), threading.Barrier(8)
        opened = [database, databases()]

        def race(number: int) -> JobName:
            ready.wait()
            return submit(opened[number % 2], 3, request_id=request_id)

        with ThreadPoolExecutor(8) as pool:
            names = set(pool.map(race, range(8)))
        assert len(names) == 1
        assert len(database.jobs.view(names.pop()).episodes) == 3
        assert len(database.jobs.page(None, "", None, 10)) == 1

    def test_pages_of_jobs(self, database: Database) -> None:
        """Jobs are listed from the newest to the oldest, of one video or of all."""
        other = VideoName("cd" * 32)
        add_video(database, other)
        jobs = [submit(database, video=VIDEO if number % 2 else other) for number in range(6)]
        with database.engine.write() as session:  # as if accepted at one moment
            session.execute(sa.update(JobRow).values(create_time=5.0))
        whole = [row.id for row in database.jobs.page(None, "", None, 10)]
        assert sorted(whole) == sorted(job.job_id for job in jobs)
        assert [row.id for row in database.jobs.page(None, "", Cursor(5.0, whole[2]), 2)] == whole[3:5]
        of_video = [row.id for row in database.jobs.page(DEFAULT_TENANT, VIDEO.video_id, None, 10)]
        assert of_video == [each for each in whole if each in {job.job_id for job in jobs[1::2]}]

    @pytest.mark.parametrize(
        ("ends", "state"),
        [((ANSWERED, ANSWERED), pb.Job.STATE_SUCCEEDED), ((FAILED, ANSWERED), pb.Job.STATE_FAILED)],
    )
    def test_job_ends_with_its_last_episode(self, database: Database, ends: tuple[End, End], state: int) -> None:
        """A job runs from its first episode's start and ends with its last; one failure makes it failed."""
        job = submit(database, 2)
        for number, end in enumerate(ends, start=1):
            taken = take(database, job, number)
            assert database.jobs.view(job).message().state == pb.Job.STATE_RUNNING
            database.work.end(taken.held, taken.writer, end)
            assert database.jobs.position(job) == (2 * number, number == 2)
        message = database.jobs.view(job).message()
        assert message.state == state
        assert message.end_time.ToNanoseconds() > 0
        assert kinds(database, job) == ["episode_started", "episode_ended"] * 2

    def test_ended_episode_says_how(self, database: Database) -> None:
        """An ended episode has its answer, or what went wrong, also in the event that tells of it."""
        job = submit(database, 2)
        for number, end in enumerate((ANSWERED, FAILED), start=1):
            taken = take(database, job, number)
            database.work.end(taken.held, taken.writer, end)
        first, second = database.jobs.view(job).messages()
        assert (first.state, first.ending) == (pb.Episode.STATE_ANSWERED, pb.Episode.ENDING_ANSWERED)
        assert (first.answer, first.choice, first.HasField("error")) == ("B", "B", False)
        assert (second.state, second.ending) == (pb.Episode.STATE_FAILED, pb.Episode.ENDING_ERROR)
        assert (second.error.code, second.error.reason) == (14, "MODEL_UNAVAILABLE")
        assert [event.episode_ended for event in events(database, job)[1::2]] == [first, second]

    def test_cancelling_ends_what_nobody_works_on(self, database: Database) -> None:
        """Pending episodes of a cancelled job end at once; a running one keeps its worker until that notices."""
        job = submit(database, 3)
        taken = take(database, job, 2)
        database.jobs.cancel(job)
        message = database.jobs.view(job).message()
        assert message.state == pb.Job.STATE_CANCELLED
        assert not message.HasField("end_time")
        states = [pb.Episode.STATE_CANCELLED, pb.Episode.STATE_RUNNING, pb.Episode.STATE_CANCELLED]
        assert [each.state for each in message.episodes] == states
        assert database.work.states(["w1"]) == {"w1": True}
        database.work.end(taken.held, taken.writer, End("cancelled", "cancelled"))
        assert database.jobs.position(job) == (4, True)
        assert database.jobs.view(job).message().state == pb.Job.STATE_CANCELLED

    def test_cancelling_again_changes_nothing(self, database: Database) -> None:
        """Cancelling a job that was cancelled, or has ended, changes nothing."""
        pending, ended = submit(database), submit(database)
        taken = take(database, ended)
        database.work.end(taken.held, taken.writer, ANSWERED)
        for job in (pending, ended):
            database.jobs.cancel(job)
            before = database.jobs.view(job).message()
            database.jobs.cancel(job)
            assert database.jobs.view(job).message() == before
        assert database.jobs.view(pending).message().HasField("end_time")
        assert database.jobs.view(ended).message().state == pb.Job.STATE_SUCCEEDED

    def test_cancelled_episode_of_a_dead_worker(self, database: Database) -> None:
        """An episode whose lease has expired ends with its job's cancelling."""
        job = submit(database)
        take(database, job, seconds=-1)
        database.jobs.cancel(job)
        assert database.jobs.position(job)[1]
        assert not can_be_taken(database)

    # Leases

    def test_one_of_many_takes_an_episode_up(self, databases: Databases, database: Database) -> None:
        """Of many workers that want an episode at one time, one gets it."""
        name, ready = episode(submit(database)), threading.Barrier(8)
        opened = [database, databases()]

        def race(number: int) -> Taken | None:
            ready.wait()
            return opened[number % 2].work.take(f"w{number}")

        with ThreadPoolExecutor(8) as pool:
            assert len([taken for taken in pool.map(race, range(8)) if taken]) == 1
        assert kinds(database, name.job) == ["episode_started"]

    def test_lease_that_expired_can_be_taken(self, database: Database) -> None:
        """A lease that was not renewed in time passes to the next, and the late owner can change nothing any more."""
        job = submit(database)
        late = take(database, job, owner="late", seconds=-1)
        taken = take(database, job, owner="new")
        assert taken.episode.start_time == late.episode.start_time
        book, before = journal(database, late), events(database, job)
        for write in (
            lambda: book.opened(captioned(1), 1, 4),
            lambda: book.decided(decided(1), ()),
            lambda: book.finished(finished(decided(1)), ()),
            lambda: database.work.wait(late.held, "why", 5),
            lambda: database.work.end(late.held, late.writer, ANSWERED),
        ):
            with pytest.raises(LeaseLost):
                write()
        database.work.release(late.held)
        assert database.work.states(["late", "new"]) == {"new": False}
        assert events(database, job) == before
        assert database.work.rounds(taken.held) == []

    def test_renewed_lease_is_kept(self, database: Database) -> None:
        """Renewing makes the leases that are named last, and no others."""
        job = submit(database, 2)
        for owner in ("a", "b"):
            assert database.work.take(owner, seconds=-1) is not None
        database.work.renew(["a", "gone"])
        assert database.work.reclaim(database.work.expired()) == 1
        assert take(database, job, 2, "c").held.owner == "c"
        assert not can_be_taken(database)

    def test_checkpoint_renews_the_lease(self, database: Database) -> None:
        """Whoever writes is alive: a checkpoint makes the lease last."""
        job = submit(database)
        taken = take(database, job, seconds=-1)
        journal(database, taken).decided(decided(1), ())
        assert not can_be_taken(database)

    def test_released_episode_is_due(self, database: Database) -> None:
        """An episode that was given back is found by the next sweep, with the time of its first start."""
        job = submit(database)
        taken = take(database, job)
        assert not can_be_taken(database)
        database.work.release(taken.held)
        assert database.jobs.view(job).message().episodes[0].state == pb.Episode.STATE_PENDING
        assert can_be_taken(database)
        assert take(database, job).episode.start_time == taken.episode.start_time

    def test_sweep_finds_the_episodes_of_dead_workers(self, database: Database) -> None:
        """What a dead worker held is due again once its lease was taken away, before what came later."""
        dead, fresh, ended = submit(database), submit(database), submit(database)
        over = take(database, ended)
        take(database, dead, seconds=-1)
        database.work.end(over.held, over.writer, ANSWERED)
        assert database.work.due(10) == 1
        assert database.work.reclaim(database.work.expired()) == 1
        assert database.work.due(10) == 2
        assert database.work.due(1) == 1, "nobody counts further than needed"
        assert [taken.job.id for taken in taken_in_turn(database)] == [dead.job_id, fresh.job_id]

    def test_waiting_episode_is_left_alone(self, database: Database) -> None:
        """An episode that waits is not taken up before its time, counts its waits, and a finished round ends them."""
        job = submit(database)
        taken = take(database, job)
        database.work.wait(taken.held, "the model server is away", 3600)
        assert database.work.take("w2") is None
        assert not can_be_taken(database)
        assert events(database, job)[-1].episode_waiting.reason == "the model server is away"
        count, since = database.work.waits(taken.held)
        assert count == 1
        assert since is not None
        assert since <= time.time()
        database.release_all_leases()
        again = take(database, job, owner="w2")
        journal(database, again).finished(finished(decided(1)), ())
        assert database.work.waits(again.held) == (0, None)

    def test_long_waiting_is_told_ever_more_rarely(self, database: Database) -> None:
        """An episode that waits again and again says so the first, second, fourth … time, and starts only once."""
        job = submit(database, 2)
        for _ in range(9):
            database.work.wait(take(database, job).held, "away", 3600)
            database.release_all_leases()
        assert kinds(database, job) == ["episode_started", *["episode_waiting"] * 4]
        assert database.jobs.view(job).job.waiting == "away"
        take(database, job, 2, "w2")
        assert database.jobs.view(job).job.waiting == "", "something goes on"
        database.work.wait(take(database, job).held, "away", 3600)
        assert database.jobs.view(job).job.waiting == ""

    def test_releasing_all_leases(self, database: Database) -> None:
        """After a restart every unfinished episode can be taken up at once, whoever had it."""
        job = submit(database, 2)
        take(database, job, 1)
        database.work.wait(take(database, job, 2).held, "away", 3600)
        assert database.release_all_leases() == 2
        assert [taken.held.number for taken in taken_in_turn(database)] == [1, 2]

    def test_episode_of_a_cancelled_job_can_be_taken(self, database: Database) -> None:
        """An episode that was given back after its job was cancelled is taken up without a word, to be ended."""
        job = submit(database)
        taken = take(database, job)
        database.jobs.cancel(job)
        database.work.release(taken.held)
        again = take(database, job, owner="w2")
        assert again.job.state == "cancelled"
        assert kinds(database, job) == ["episode_started"]

    # Turns

    def test_single_question_goes_before_a_long_queue(self, database: Database) -> None:
        """A tenant with 10,000 pending questions does not keep another, with a single one, from being next."""
        for name in ("many", "one"):
            database.tenants.create(name)
            add_video(database, VIDEO, name)
        for _ in range(10):
            submit(database, 1000, tenant="many")
        first = [database.work.take("w") for _ in range(3)]
        assert {taken.held.tenant for taken in first if taken} == {"many"}
        single = submit(database, tenant="one")
        taken = database.work.take("w")
        assert taken is not None
        assert taken.job.id == single.job_id
        more = [database.work.take("w") for _ in range(2)]
        assert [each.held.tenant for each in more if each] == ["many", "many"]
        assert database.work.due(20_000) == 10_000 - 5

    def test_choosing_looks_at_no_more_than_it_must(self, database: Database) -> None:
        """What is next is found by indexes, however many episodes have ended or wait their turn."""
        job = submit(database, 1000)
        with database.engine.write() as session:
            half = sa.update(EpisodeRow).where(EpisodeRow.number > 500)
            session.execute(half.values(state="answered", end_time=1.0))
        plans, statements = [], list[tuple[str, Any]]()

        def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            statements.append((statement, parameters))

        if not database.engine.is_sqlite:
            with database.engine.sqlalchemy.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
        sa.event.listen(database.engine.sqlalchemy, "before_cursor_execute", note)
        taken = database.work.take("w")
        sa.event.remove(database.engine.sqlalchemy, "before_cursor_execute", note)
        assert taken is not None
        assert taken.held.job_id == job.job_id
        choosing = [each for each in statements if "'pending'" in each[0]]
        assert len(choosing) == 2, "one statement ranks the tenants, one takes the episode"
        explain = "EXPLAIN QUERY PLAN " if database.engine.is_sqlite else "EXPLAIN "
        with database.engine.write() as session:
            for statement, parameters in choosing:
                rows = session.connection().exec_driver_sql(explain + statement, parameters)
                plans += [str(row) for row in rows]
        assert any("episodes_due" in line for line in plans)
        scans = [line for line in plans if "SCAN" in line.upper() and "episodes" in line.lower()]
        assert all("INDEX" in line.upper() for line in scans), scans

    def test_interactive_work_goes_before_batch_work(self, database: Database) -> None:
        """Batch work is taken up when no interactive work is left, whoever submitted either and however old it is."""
        database.tenants.create("other")
        add_video(database, VIDEO, "other")
        batch = submit(database, 2, priority=types_pb2.PRIORITY_BATCH)
        jobs = [submit(database, 2, tenant="other"), submit(database)]
        order = [taken.job.id for taken in taken_in_turn(database)]
        assert set(order[:3]) == {job.job_id for job in jobs}
        assert order[3:] == [batch.job_id] * 2

    def test_oldest_first_within_a_tenant(self, database: Database) -> None:
        """A tenant's questions are taken up in the order in which they came, so that none is left behind."""
        jobs = [submit(database, 3) for _ in range(3)]
        order = [(taken.job.id, taken.held.number) for taken in taken_in_turn(database)]
        assert order == [(job.job_id, number) for job in jobs for number in (1, 2, 3)]

    def test_tenants_take_turns(self, database: Database) -> None:
        """Of tenants that all have something to do, the one with the fewest running episodes is next."""
        for name in ("ann", "bob"):
            database.tenants.create(name)
            add_video(database, VIDEO, name)
            submit(database, 4, tenant=name)
        order = [taken.held.tenant for taken in taken_in_turn(database)]
        assert [set(order[at : at + 2]) for at in range(0, 8, 2)] == [{"ann", "bob"}] * 4

    def test_many_workers_at_one_time(self, databases: Databases, database: Database) -> None:
        """Workers that take what is due at one time each get another episode, until all are taken."""
        submit(database, 40)
        opened = [database, databases()]

        def work(number: int) -> list[int]:
            return [taken.held.number for taken in taken_in_turn(opened[number % 2])]

        with ThreadPoolExecutor(8) as pool:
            taken = [number for numbers in pool.map(work, range(8)) for number in numbers]
        assert len(taken) == len(set(taken))
        assert database.work.due(100) == 40 - len(taken)
        assert sorted(taken + [each.held.number for each in taken_in_turn(database)]) == list(range(1, 41))

    # Limits of tenants

    def test_no_more_run_than_may(self, databases: Databases, database: Database) -> None:
        """A tenant that may run two episodes never runs three, whoever races, and the next starts when one ends."""
        database.tenants.change(DEFAULT_TENANT, {"max_running_episodes": 2})
        job, opened, ready = submit(database, 8), [database, databases()], threading.Barrier(8)

        def race(number: int) -> Taken | None:
            ready.wait()
            return opened[number % 2].work.take(f"w{number}")

        with ThreadPoolExecutor(8) as pool:
            running = [taken for taken in pool.map(race, range(8)) if taken]
        running += taken_in_turn(database)
        assert len(running) == 2
        database.work.end(running[0].held, running[0].writer, ANSWERED)
        assert len(taken_in_turn(database)) == 1
        database.tenants.change(DEFAULT_TENANT, {"max_running_episodes": None})
        assert len(taken_in_turn(database)) == 5
        assert job.job_id

    def test_full_tenant_holds_nobody_up(self, database: Database) -> None:
        """A tenant that may run no more is passed over, and its job is told so once, until it starts."""
        database.tenants.create("other")
        add_video(database, VIDEO, "other")
        database.tenants.change(DEFAULT_TENANT, {"max_running_episodes": 1})
        first, waiting, other = submit(database), submit(database, 3), submit(database, tenant="other")
        assert [taken.job.id for taken in taken_in_turn(database)] == [first.job_id, other.job_id]
        assert (database.work.tell_waiting(), database.work.tell_waiting()) == (1, 0)
        told = events(database, waiting)
        assert [event.WhichOneof("event") for event in told] == ["episode_waiting"]
        assert "1 of the tenant's episodes run already" in told[0].episode_waiting.reason
        assert database.jobs.view(waiting).job.waiting == told[0].episode_waiting.reason
        database.release_all_leases()
        database.jobs.cancel(first)
        assert next(taken.job.id for taken in taken_in_turn(database)) == waiting.job_id
        assert database.jobs.view(waiting).job.waiting == ""

    def test_no_more_is_open_than_may_be(self, database: Database) -> None:
        """A job whose questions are too many beside those that are open is refused, with what is possible."""
        database.tenants.change(DEFAULT_TENANT, {"max_open_episodes": 5})
        job = submit(database, 3, request_id=(request_id := str(uuid.uuid4())))
        with pytest.raises(ResourceExhausted, match="has 3 questions that have not ended, and may have 5") as caught:
            submit(database, 3)
        assert (caught.value.reason, caught.value.metadata["limit"]) == ("TENANT_OPEN_EPISODES", "5")
        assert caught.value.retry_after
        with pytest.raises(ResourceExhausted, match="split the job") as never:
            submit(database, 6)
        assert never.value.retry_after is None
        submit(database, 2)
        assert submit(database, 3, request_id=request_id) == job, "it was accepted before"
        database.jobs.cancel(job)
        submit(database, 3)

    def test_racing_clients_do_not_exceed(self, databases: Databases, database: Database) -> None:
        """Of many clients that submit at one time, as many are accepted as the limit allows."""
        database.tenants.change(DEFAULT_TENANT, {"max_open_episodes": 5, "max_stored_bytes": 5000})
        opened, ready = [database, databases()], threading.Barrier(8)

        def race(number: int) -> tuple[bool, bool]:
            ready.wait()
            own = opened[number % 2]
            return accepted(lambda: submit(own, 2)), accepted(
                lambda: own.videos.create(DEFAULT_TENANT, f"{number:064x}", size_bytes=1500, display_name="")
            )

        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(race, range(8)))
        assert sum(submitted for submitted, _ in done) == 2
        assert sum(stored for _, stored in done) == 2, "beside the 1,000 bytes of the first video"

    def test_seconds_of_a_day(self, database: Database) -> None:
        """A tenant whose models' time of the day is spent submits nothing, runs nothing, and is told until when."""
        database.tenants.change(DEFAULT_TENANT, {"max_daily_model_seconds": 10.0})
        job, now = submit(database), time.time()
        spent = [call(seconds=seconds, start_time=now - 3600 * hours) for hours, seconds in ((25, 50), (20, 4), (2, 7))]
        database.calls.record(spent, OUTSIDE)
        with pytest.raises(ResourceExhausted, match="took 11 s in the last 24 hours, and may take 10 s") as caught:
            submit(database)
        assert caught.value.reason == "TENANT_MODEL_SECONDS"
        assert caught.value.retry_after == pytest.approx(4 * 3600, abs=60)
        assert database.work.take("w") is None
        assert database.work.tell_waiting() == 1
        assert "all of its 10 s" in database.jobs.view(job).job.waiting
        database.tenants.change(DEFAULT_TENANT, {"max_daily_model_seconds": 12.0})
        submit(database)

    def test_stored_bytes(self, database: Database) -> None:
        """A video that is too large beside the tenant's others is refused; one that it has already is not."""
        database.tenants.change(DEFAULT_TENANT, {"max_stored_bytes": 1500})
        with pytest.raises(ResourceExhausted, match="has 1,000 bytes of videos, and may have 1,500") as caught:
            database.videos.create(DEFAULT_TENANT, "ef" * 32, size_bytes=600, display_name="")
        assert caught.value.reason == "TENANT_STORED_BYTES"
        database.videos.create(DEFAULT_TENANT, "ef" * 32, size_bytes=500, display_name="")
        database.videos.create(DEFAULT_TENANT, "ef" * 32, size_bytes=400, display_name="")
        with pytest.raises(ResourceExhausted):
            database.videos.create(DEFAULT_TENANT, "ef" * 32, size_bytes=501, display_name="")
        database.tenants.change(DEFAULT_TENANT, {"max_stored_bytes": 1})
        assert database.videos.create(DEFAULT_TENANT, VIDEO.video_id, size_bytes=1000, display_name="").is_ready

    # Giving things up

    def test_video_that_two_have(self, database: Database) -> None:
        """A video that one tenant gives up stays the other's, with its subtitles, until nobody has it."""
        database.tenants.create("other")
        add_video(database, VIDEO, "other")
        for tenant, ids in ((DEFAULT_TENANT, ("own", "both")), ("other", ("both",))):
            for subtitles in ids:
                database.videos.add_subtitles(tenant, VIDEO.video_id, subtitles, 1)
        unneeded = database.retention.give_up(DEFAULT_TENANT, VIDEO.video_id)
        assert unneeded == ([], [(VIDEO.video_id, "own")])
        assert database.videos.get(VIDEO, "other").is_ready
        for gone in (database.videos.get, lambda name, tenant: database.retention.give_up(tenant, name.video_id)):
            with pytest.raises(NotFound, match="there is no video"):
                gone(VIDEO, DEFAULT_TENANT)
        with pytest.raises(NotFound):
            submit(database)
        assert not database.retention.is_deleting(VIDEO.video_id)
        assert database.retention.give_up("other", VIDEO.video_id).videos == [VIDEO.video_id]
        assert database.retention.deleting() == [VIDEO.video_id]
        database.retention.deleted(VIDEO.video_id)
        assert not database.retention.is_deleting(VIDEO.video_id)

    def test_video_of_a_job_that_goes_on(self, database: Database) -> None:
        """A video cannot be given up while a job of its tenant about it has not ended; the job can be read after."""
        job = submit(database)
        with pytest.raises(FailedPrecondition, match=f"{job} about {VIDEO} has not ended") as caught:
            database.retention.give_up(DEFAULT_TENANT, VIDEO.video_id)
        assert caught.value.reason == "VIDEO_IN_USE"
        taken = take(database, job)
        database.work.end(taken.held, taken.writer, ANSWERED)
        before = database.jobs.view(job).message()
        database.retention.give_up(DEFAULT_TENANT, VIDEO.video_id)
        assert database.jobs.view(job).message() == before
        add_video(database)
        assert not database.retention.is_deleting(VIDEO.video_id), "it was brought again"

    def test_racing_to_give_up_and_to_ask(self, databases: Databases, database: Database) -> None:
        """Of a question about a video and its giving up at one time, one is refused."""
        opened, ready = databases(), threading.Barrier(2)

        def give_up() -> bool:
            ready.wait()
            try:
                opened.retention.give_up(DEFAULT_TENANT, VIDEO.video_id)
            except FailedPrecondition:
                return False
            return True

        with ThreadPoolExecutor(1) as pool:
            for _ in range(5):
                given_up = pool.submit(give_up)
                ready.wait()
                try:
                    job = submit(database)
                except NotFound:
                    assert given_up.result()
                else:
                    assert not given_up.result()
                    database.jobs.cancel(job)
                add_video(database)

    def test_old_jobs(self, database: Database) -> None:
        """Jobs that ended long ago go with all that is known of them; newer, unfinished and another's ones stay."""
        database.tenants.create("other")
        add_video(database, VIDEO, "other")
        old, new, others, unfinished = (
            submit(database),
            submit(database),
            submit(database, tenant="other"),
            submit(database),
        )
        for job in (old, new, others):
            taken = take(database, job)
            journal(database, taken).decided(decided(1), [call(start_time=5.0), call(start_time=time.time())])
            database.work.end(taken.held, taken.writer, ANSWERED)
        with database.engine.write() as session:
            aged = sa.or_(JobRow.id == old.job_id, JobRow.id == others.job_id)
            session.execute(sa.update(JobRow).where(aged).values(end_time=100.0))
        before, told = 200.0, len(events(database, old))
        assert told == 3
        assert database.retention.old_jobs(before, None)[:2] == (2, 2)
        assert database.retention.old_jobs(before, DEFAULT_TENANT)[:2] == (1, 1)
        assert database.retention.old_jobs(before, DEFAULT_TENANT).size_bytes > 0
        database.retention.drop_jobs(before, DEFAULT_TENANT)
        left = {row.id for row in database.jobs.page(None, "", None, 10)}
        assert left == {job.job_id for job in (new, others, unfinished)}
        assert events(database, old) == []
        assert database.retention.old_jobs(before, DEFAULT_TENANT) == (0, 0, 0)
        database.tenants.change(DEFAULT_TENANT, {"max_daily_model_seconds": 3.0})
        with pytest.raises(ResourceExhausted, match="took 4 s in the last 24 hours"):
            submit(database)

    def test_old_videos(self, database: Database) -> None:
        """A video goes when nobody of its tenant has asked about it lately, and another's, or one in use, stays."""
        database.tenants.create("other")
        add_video(database, VIDEO, "other")
        asked, used = VideoName("cd" * 32), VideoName("ef" * 32)
        for name in (asked, used):
            add_video(database, name)
        taken = take(database, submit(database, video=asked))
        database.work.end(taken.held, taken.writer, ANSWERED)
        in_use = submit(database, video=used)
        with database.engine.write() as session:
            session.execute(sa.update(HoldingRow).where(HoldingRow.tenant_id == DEFAULT_TENANT).values(create_time=5.0))
            session.execute(sa.update(JobRow).where(JobRow.id == in_use.job_id).values(create_time=5.0))
        old = database.retention.old_videos(100.0, None)
        assert old == [(DEFAULT_TENANT, VIDEO.video_id)]
        assert database.retention.unneeded_after(old) == []
        assert database.retention.old_videos(100.0, "other") == []
        assert database.retention.drop_videos(100.0, None) == ([], [])
        assert [held.id for held in database.videos.page("other", None, 10)] == [VIDEO.video_id]
        assert {held.id for held in database.videos.page(DEFAULT_TENANT, None, 10)} == {asked.video_id, used.video_id}
        everything = time.time() + 1
        assert database.retention.drop_videos(everything, DEFAULT_TENANT).videos == [asked.video_id]
        assert database.retention.may_lose_captions(asked.video_id, None)
        assert not database.retention.may_lose_captions(used.video_id, None), "a job about it goes on"
        assert not database.retention.may_lose_captions(VIDEO.video_id, DEFAULT_TENANT), "it is another's"
        assert database.retention.may_lose_captions(VIDEO.video_id, "other")

    # Journals and events

    def test_another_worker_goes_on_from_the_journal(self, databases: Databases, database: Database) -> None:
        """A new journal on the same database has every round, the last as it was decided, and tells nothing twice."""
        job = submit(database)
        first = journal(database, take(database, job, owner="w1", seconds=60))
        assert first.rounds() == []
        for number in range(1, 5):
            first.opened(captioned(number), number, 4)
        one, two = decided(1), decided(2, VideoQA(Segment((2, 4, 1)), "What (is) that?"))
        one.corrections.append("no tag")
        first.corrected(1, "no tag", [call(outcome="invalid")])
        first.decided(one, [call()])
        first.finished(finished(one), [call(role="caption")])
        first.decided(two, [call()])
        restarted = databases()
        restarted.release_all_leases()
        taken = take(restarted, job, owner="w2")
        assert taken.episode.round_count == 1
        second = journal(restarted, taken)
        assert second.rounds() == [finished(one), two]
        for number in range(1, 5):
            second.opened(replace(captioned(number), cached=True, calls=()), number, 4)
        second.finished(finished(two), [call(role="qa")])
        second.decided(decided(3, Answer("B")), [call()])
        second.finished(finished(decided(3, Answer("B")), ""), ())
        restarted.work.end(taken.held, taken.writer, ANSWERED)
        rounds = ["round_decided", "round_finished"]
        told = ["episode_started", *["caption_ready"] * 4, *rounds, "round_decided", "episode_started"]
        assert kinds(database, job) == [*told, "round_finished", *rounds, "episode_ended"]
        assert events(database, job)[8].episode_started.finished_round_count == 1
        assert len(database.calls.page(Place(job.job_id), None, 100)) == 10

    def test_event_of_a_decision(self, database: Database) -> None:
        """A decision's event has the thought, the action with its times, and the number of corrections."""
        job = submit(database)
        step = decided(1, VideoQA(Segment((2, 4, 1)), "What?"))
        step.corrections.append("no tag")
        journal(database, take(database, job)).decided(step, ())
        event = events(database, job)[-1].round_decided
        assert (event.number, event.thought, event.correction_count) == (1, "thought 1", 1)
        assert event.action.video_qa.query == "What?"
        place = event.action.video_qa.segment
        assert (place.start_offset.seconds, place.end_offset.ToMilliseconds()) == (175, 181_250)

    def test_positions_have_no_gaps(self, databases: Databases, database: Database) -> None:
        """Events of many episodes at one time are numbered from 1, and no reader sees one before its forerunner."""
        job, opened = submit(database, 8), [database, databases()]
        stop, seen = threading.Event(), list[int]()

        def read() -> None:
            while not stop.is_set():
                positions = [event.position for event in events(database, job)]
                seen.append(len(positions))
                assert positions == list(range(1, len(positions) + 1))

        def work(number: int) -> None:
            own = opened[number % 2]
            taken = own.work.take(f"w{number}")
            assert taken is not None
            book = journal(own, taken)
            for count in range(1, 5):
                book.decided(decided(count), [call()])
                book.finished(finished(decided(count)), [call()])
            own.work.end(taken.held, taken.writer, ANSWERED)

        with ThreadPoolExecutor(9) as pool:
            reader = pool.submit(read)
            workers = [pool.submit(work, number) for number in range(1, 9)]
            for worker in workers:
                worker.result()
            stop.set()
            reader.result()
        assert [event.position for event in events(database, job)] == list(range(1, 8 * 10 + 1))
        assert database.jobs.position(job) == (80, True)
        assert database.jobs.view(job).message().state == pb.Job.STATE_SUCCEEDED

    def test_events_from_a_position(self, database: Database) -> None:
        """Events are read from the one after a position, so many at a time."""
        job = submit(database, 3)
        database.jobs.cancel(job)
        assert [event.position for event in database.jobs.events(job.job_id, 1, 1)] == [2]
        assert [event.position for event in database.jobs.events(job.job_id, 3, 10)] == []

    def test_evidence_and_coverage(self, database: Database) -> None:
        """An episode says which segments its finished rounds opened, and how much of the video that is."""
        job = submit(database)
        taken = take(database, job)
        book = journal(database, taken)
        actions = [GetCaption(Segment((2, 4))), VideoQA(Segment((2, 4, 1)), "What?"), GetCaption(Segment((2, 4)))]
        for number, action in enumerate(actions, start=1):
            book.decided(decided(number, action), ())
            book.finished(finished(decided(number, action)), ())
        book.decided(decided(4, GetCaption(Segment((1, 1)))), ())
        (message,) = database.jobs.view(job).messages()
        assert [(list(each.segment.path), each.round) for each in message.evidence] == [([2, 4], 1), ([2, 4, 1], 2)]
        assert [(each.captioned, each.inspected) for each in message.evidence] == [(True, False), (False, True)]
        assert message.evidence[0].segment.start_offset.seconds == 175
        assert message.coverage == pb.Coverage(opened_fraction=1 / 16, low_fraction=1 / 64, inspected_fraction=1 / 64)
        assert message.round_count == 3

    def test_text_that_cannot_be_stored_is_mended(self, database: Database) -> None:
        """What a model emits and no text can hold, halves of characters and zeros, is replaced, not refused."""
        job = submit(database)
        taken = take(database, job)
        book = journal(database, taken)
        step = replace(decided(1, Answer("a\0b\ud800")), thought="\udc00")
        book.decided(step, [call(detail="\0\ud800")])
        book.finished(finished(step, "x\0"), ())
        database.work.end(taken.held, taken.writer, replace(ANSWERED, answer="a\0b\ud800", message="\ud800"))
        view = database.jobs.episode(episode(job))
        assert view.rounds[0].text == "a\N{REPLACEMENT CHARACTER}b?"
        assert view.rounds[0].thought == "?"

    def test_statements_per_round(self, database: Database) -> None:
        """A round is ten statements in two transactions, each sent once and each on one row."""
        book = journal(database, take(database, submit(database)))
        statements: list[str] = []

        def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            statements.append(" ".join(statement.split()[:3]))

        sa.event.listen(database.engine.sqlalchemy, "before_cursor_execute", count)
        sa.event.listen(database.engine.sqlalchemy, "commit", lambda _: statements.append("COMMIT"))
        book.check()
        book.decided(decided(1), [call()])
        book.finished(finished(decided(1)), [call()])
        sent = [each.replace(" SET", "") for each in statements if not each.startswith("BEGIN")]
        told = ["INSERT INTO model_calls", "UPDATE jobs", "INSERT INTO events", "COMMIT"]
        assert sent == ["UPDATE episodes", "INSERT INTO rounds", *told, "UPDATE episodes", "UPDATE rounds", *told]

    def test_right_answers_are_counted(self, database: Database) -> None:
        """A job counts its episodes that could be judged, and those that were right; each says so itself."""
        job = submit(database, 4)
        for number, correct in enumerate((True, False, None, True), start=1):
            taken = take(database, job, number)
            database.work.end(taken.held, taken.writer, replace(ANSWERED, correct=correct))
        message = database.jobs.view(job).message()
        assert (message.judged_count, message.correct_count) == (3, 2)
        assert [each.correct for each in message.episodes if each.HasField("correct")] == [True, False, True]

    def test_what_a_job_has_spent(self, database: Database) -> None:
        """A job sums the seconds of its calls times their GPUs, each call once, whichever way it was recorded."""
        job = submit(database)
        taken = take(database, job)
        book, again = journal(database, taken), call(seconds=5.0, gpus=2)
        book.opened(captioned(1), 1, 4)
        book.corrected(1, "what?", [again, call(seconds=1.0, gpus=0)])
        book.corrected(1, "what?", [again])
        book.decided(decided(1), [again, call(seconds=0.5, gpus=4)])
        with database.engine.read() as session:
            total = session.scalar(sa.select(sa.func.sum(CallRow.seconds * CallRow.gpus)))
        spending = database.jobs.view(job).message().spending
        assert spending.gpu_seconds == pytest.approx(total)
        assert not spending.HasField("cost"), "nobody knows a price"
        assert total == 2.0 + 10.0 + 2.0

    def test_what_reports_of_cost_read(self, database: Database) -> None:
        """Calls come in the order of time, however many; questions as they ended; captions and segments once each."""
        first, second = submit(database, 2, label="boats"), submit(database)
        many = [call(id=f"many{n:05}", start_time=2000.0 + n // 3, seconds=n % 7) for n in range(6000)]
        database.calls.record(many, purpose(first.job_id, 1))
        for job, number, correct in ((first, 1, True), (first, 2, None), (second, 1, False)):
            taken = take(database, job, number)
            book, step = journal(database, taken), finished(decided(1))
            book.opened(replace(captioned(1), cached=number == 2), 1, WIDTH)
            step.cached = number == 2
            book.decided(decided(1), ())
            book.finished(step, ())
            database.work.end(taken.held, taken.writer, replace(ANSWERED, correct=correct))
        now = time.time() + 1
        with database.costs.read() as reading:
            found = list(reading.calls(2000.0, 2500.0))
            ended = list(reading.ended(Scope(None), 0.0, now))
            of_one = list(reading.ended(Scope(DEFAULT_TENANT, second.job_id), 0.0, now))
            seen = reading.seen(Scope(None), 0.0, now)
            assert (reading.first(), reading.longest()) == (1000.0, 6.0)
            assert reading.span(first.job_id)[0] == 1000.0
            assert list(reading.ended(Scope("nobody"), 0.0, now)) == list(reading.ended(Scope(None), now, now)) == []
            assert reading.seen(Scope("nobody"), 0.0, now) == (0, 0, 0)
        assert [(each.start, each.seconds) for each in found] == [
            (each.start_time, each.seconds) for each in many[:1500]
        ]
        assert {(each.tenant, each.job_id, each.episode, each.gpus) for each in found} == {
            (DEFAULT_TENANT, first.job_id, 1, 1)
        }
        assert {(each.job_id, each.episode, each.label, each.is_answered, each.is_correct) for each in ended} == {
            (first.job_id, 1, "boats", True, True),
            (first.job_id, 2, "boats", True, None),
            (second.job_id, 1, "", True, False),
        }
        assert [each.job_id for each in of_one] == [second.job_id]
        assert seen.cached_captions == 2, "of the second question: one to start from, and one that it opened"
        assert (seen.low_segments, seen.read_segments) == (WIDTH**3, WIDTH + 1)

    def test_budget_costs_no_statement(self, database: Database) -> None:
        """A round of a job with a budget is the same ten statements; they bring back what all its episodes spent."""
        job = submit(database, 3)
        taken, other = take(database, job), take(database, job, 2)
        purse = Purse(pb.Budget(max_gpu_seconds=20.0), no_price, Standing(NOTHING, 1))
        book = DatabaseJournal(database, taken.held, Lease("w"), taken.writer, purse=purse)
        statements: list[str] = []
        listener = (database.engine.sqlalchemy, "before_cursor_execute", lambda *sent: statements.append(sent[2]))
        sa.event.listen(*listener)
        assert book.check_budget()
        book.decided(decided(1), [call(seconds=1.0)])
        book.finished(finished(decided(1)), [call(role="qa", seconds=2.0, gpus=2)])
        assert book.check_budget()
        sa.event.remove(*listener)
        assert len([each for each in statements if not each.startswith("BEGIN")]) == 10
        journal(database, other).decided(decided(1), [call(seconds=4.0)])
        book.decided(decided(2), ())
        assert book.check_budget() is False, "9 of 20 are spent, and both episodes need 6 more"
        database.work.release(other.held)
        book.finished(finished(decided(2)), ())
        assert book.check_budget()
        book.corrected(3, "what?", [call(seconds=11.0)])
        with pytest.raises(BudgetExhausted, match="took 20 of 20 GPU-seconds"):
            book.check_budget()

    def test_notice_of_a_finished_round(self, database: Database) -> None:
        """What is told after a round can be added when it is finished, by nobody but who has the episode."""
        job = submit(database)
        taken = take(database, job)
        book, step = journal(database, taken), finished(decided(1))
        book.decided(decided(1), ())
        book.finished(step, ())
        step.notice = "It is the last."
        book.noticed(step)
        assert [each.notice for each in database.work.rounds(taken.held)] == ["It is the last."]
        database.work.release(taken.held)
        with pytest.raises(LeaseLost):
            book.noticed(step)

    def test_new_episode_reads_nothing(self, database: Database) -> None:
        """Of an episode that nobody had before, its journal asks the database nothing; of another it does."""
        job = submit(database)
        taken = take(database, job)
        assert taken.is_new
        statements: list[str] = []
        listener = (database.engine.sqlalchemy, "before_cursor_execute", lambda *sent: statements.append(sent[2]))
        sa.event.listen(*listener)
        book = DatabaseJournal(database, taken.held, Lease("w"), taken.writer, is_new=taken.is_new)
        assert (book.rounds(), book.opening(), statements) == ([], [], [])
        book.began([{"role": "user", "content": "Look."}])
        book.decided(decided(1), ())
        database.work.release(taken.held)
        again = take(database, job, owner="w2")
        assert not again.is_new
        book = DatabaseJournal(database, again.held, Lease("w2"), again.writer, is_new=again.is_new)
        assert (len(book.rounds()), len(book.opening())) == (1, 1)

    # Model calls

    def test_call_is_recorded_once(self, database: Database) -> None:
        """Recording a call again changes nothing, whoever does it."""
        job = submit(database)
        made, own = call(), purpose(job.job_id, 1)
        database.calls.record([made], own, 1)
        database.calls.record([made, call()], own, 2)
        database.calls.record([made], OUTSIDE)
        rows = database.calls.page(Place(job.job_id, 1), None, 10)
        assert len(rows) == 2
        assert next(row for row in rows if row.id == made.id).round == 1

    def test_calls_say_what_they_were_for(self, database: Database) -> None:
        """Each call has the video and the label of its job, and keeps them when the job is deleted."""
        job = submit(database, label="a data set")
        taken = take(database, job)
        book = journal(database, taken)
        now = time.time()
        book.decided(decided(1), [call(id="c1", start_time=now, queue_seconds=0.5, decode_seconds=0.0)])
        book.failed_calls(1, [call(id="c2", start_time=now + 1)])
        database.work.end(taken.held, taken.writer, End("answered", "answered"))

        def told() -> list[object]:
            query = sa.select(CallRow.id, CallRow.video_id, CallRow.label, CallRow.job_id).order_by(CallRow.id)
            with database.engine.read() as session:
                return list(session.execute(query))

        purpose = (VIDEO.video_id, "a data set")
        assert told() == [("c1", *purpose, job.job_id), ("c2", *purpose, job.job_id)]
        first, second = (messages.call_of(row) for row in database.calls.page(Place(job.job_id), None, 10))
        assert (first.queue_seconds, first.prefill_seconds, first.decode_seconds) == (0.5, None, 0.0)
        assert second.queue_seconds is None
        database.retention.drop_jobs(now + 3600, None)
        assert told() == [("c1", *purpose, None), ("c2", *purpose, None)]

    def test_backlog(self, database: Database) -> None:
        """What waits and what runs is counted by priority, with the age of the oldest that waits."""
        empty = [("interactive", 0, 0, 0.0), ("batch", 0, 0, 0.0)]
        assert database.work.backlog() == empty
        first = submit(database, 3)
        submit(database, 2, priority=types_pb2.PRIORITY_BATCH)
        taken = take(database, first)
        with database.engine.write() as session:
            session.execute(sa.update(EpisodeRow).values(create_time=EpisodeRow.create_time - 100))
        interactive, batch = database.work.backlog()
        assert (interactive.waiting, interactive.running, batch.waiting, batch.running) == (2, 1, 2, 0)
        assert 100 <= batch.oldest_seconds <= interactive.oldest_seconds < 200
        database.work.end(taken.held, taken.writer, End("answered", "answered"))
        assert database.work.backlog()[0][:3] == ("interactive", 2, 0)

    def test_pages_of_calls(self, database: Database) -> None:
        """Calls are listed from the oldest to the newest, of a job or of one episode."""
        job = submit(database, 2)
        made = [call(start_time=float(number // 2), id=f"c{number}") for number in range(6)]
        for number, each in enumerate(made):
            database.calls.record([each], purpose(job.job_id, 1 + number % 2))
        assert [row.id for row in database.calls.page(Place(job.job_id), None, 10)] == [each.id for each in made]
        rest = database.calls.page(Place(job.job_id), Cursor(1.0, "c2"), 2)
        assert [row.id for row in rest] == ["c3", "c4"]
        assert [row.id for row in database.calls.page(Place(job.job_id, 2), None, 10)] == ["c1", "c3", "c5"]

    def test_sums(self, database: Database) -> None:
        """Calls are summed by role, model and pool; failed ones cost too."""
        job = submit(database, 2)
        database.calls.record([call(), call(outcome="error", seconds=7.0)], purpose(job.job_id, 1))
        database.calls.record([call(pool="a800")], purpose(job.job_id, 2))
        first, second = database.calls.sums(Place(job.job_id))
        assert (first.pool, second.pool) == ("a800", "h800")
        assert (second.role, second.model, second.calls, second.failed, second.seconds) == ("reason", "m", 2, 1, 9.0)
        assert (second.prompt_tokens, second.cached_tokens, second.completion_tokens) == (200, 80, 20)
        assert [row.pool for row in database.calls.sums(Place(job.job_id, 2))] == ["a800"]
        assert database.calls.sums(Place(submit(database).job_id)) == []

    def test_isolated_seconds_use_the_whole_history(self, database: Database) -> None:
        """The isolated time is the number of calls times the mean of the model's successful calls of all jobs."""
        job, other = submit(database), submit(database)
        database.calls.record([call(seconds=1.0), call(seconds=50.0, outcome="timeout")], purpose(job.job_id, 1))
        database.calls.record([call(seconds=4.0)], purpose(other.job_id, 1))
        database.calls.record([call(seconds=7.0), call(model="another", seconds=1000.0)], OUTSIDE)
        (row,) = database.calls.sums(Place(job.job_id))
        assert row.isolated == pytest.approx(2 * (1 + 4 + 7) / 3)
        database.calls.record([call(model="dead", outcome="error")], purpose(other.job_id, 1))
        assert next(row.isolated for row in database.calls.sums(Place(other.job_id)) if row.model == "dead") == 0

    def test_calls_of_a_failure_count_whoever_has_the_lease(self, database: Database) -> None:
        """Calls made in vain are recorded even when the episode is in other hands by then."""
        job = submit(database)
        late = take(database, job, owner="late", seconds=-1)
        take(database, job, owner="new")
        journal(database, late).failed_calls(1, [call(outcome="error")])
        assert database.calls.sums(Place(job.job_id))[0].failed == 1


def test_lease_says_why_it_ended() -> None:
    """A lease raises the first reason for which it ended."""
    lease = Lease("w")
    lease.check()
    lease.end(LeaseLost)
    lease.end(Cancelled)
    with pytest.raises(LeaseLost):
        lease.check()
