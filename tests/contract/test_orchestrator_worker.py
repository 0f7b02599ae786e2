"""Carrying episodes out: endings, cancelling, waiting, restarts."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from longvideo import errors, metrics, rpc, usage
from longvideo.resources import JobName
from longvideo.testing import Reply, ScriptedModelServer
from longvideo.testing.services import model_call
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from orchestrator import celery_app
from orchestrator.leases import Abandoned, Keeper, Lease
from orchestrator.store import Database, LeaseLost
from orchestrator.store.calls import Place
from orchestrator.store.work import Held
from orchestrator.tables import EpisodeRow
from tests.contract.database import VIDEO, add_video, submit, take
from tests.contract.orchestrator_world import SCRIPT, Gate, World, round_of


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Returns what makes an orchestrator with a ready video."""
    made = []

    def make(**options: Any) -> World:
        world = World(tmp_path, **options)
        made.append(world)
        add_video(world.database)
        return world

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """An orchestrator with a ready video."""
    return worlds()


def kinds(world: World, job: pb.Job) -> list[str | None]:
    """Returns what happened in a job until it ended."""
    return [event.WhichOneof("event") for event in world.watch(job)]


def eventually(condition: Callable[[], bool]) -> None:
    """Waits for something that happens soon."""
    for _ in range(600):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not happen")


def test_restart_in_the_middle_of_a_round(world: World) -> None:
    """An episode goes on after a restart from where it stood, and repeats no call that was answered."""
    gate = Gate(1)
    world.reason = gate
    job = world.submit(str(VIDEO))
    assert gate.reached.wait(20)
    asked = len(world.reasoner.requests)
    world.stop()
    gate.opened.set()
    world.reason = lambda number: SCRIPT[number]
    world.start()
    done = world.finish(job)
    assert done.state == pb.Job.STATE_SUCCEEDED
    assert done.episodes[0].round_count == 3
    assert len(world.reasoner.requests) == asked + 2, "round 2, which had no answer, and round 3"
    assert len(world.services.qa_requests) == 1
    told = kinds(world, job)
    assert told.count("episode_started") == 2
    assert told.count("caption_ready") == 4
    assert told.count("round_finished") == 3
    outcomes = [row.outcome for row in world.database.calls.page(Place(name_of(job).job_id), None, 100)]
    assert outcomes.count("ok") == 9
    assert outcomes.count("cancelled") == len(outcomes) - 9


def test_calls_for_those_who_had_gone(world: World) -> None:
    """What a service could not tell an episode is in the ledger as that episode's, once, whoever is told of it."""
    earlier = world.finish(world.submit(str(VIDEO), label="boats"))
    stray, alone = replace(model_call("qa"), outcome="cancelled"), replace(model_call("caption"), outcome="cancelled")
    world.services.made.clear()
    world.services.strays = [
        types_pb2.StrayCall(call=usage.to_proto(stray), video=str(VIDEO), episode=f"{earlier.name}/episodes/1"),
        types_pb2.StrayCall(call=usage.to_proto(stray), video=str(VIDEO), episode=f"{earlier.name}/episodes/1"),
        types_pb2.StrayCall(call=usage.to_proto(alone), video=str(VIDEO), episode="jobs/pruned/episodes/1"),
    ]
    later = world.finish(world.submit(str(VIDEO)))
    entries = [entry for page in world.stub.ExportUsage(pb.ExportUsageRequest()) for entry in page.entries]
    told = {entry.call.id: entry for entry in entries if entry.call.outcome == types_pb2.ModelCall.OUTCOME_CANCELLED}
    assert len([entry for entry in entries if entry.call.id in told]) == 2
    assert (told[stray.id].job, told[stray.id].episode, told[stray.id].label) == (earlier.name, 1, "boats")
    assert (told[alone.id].job, told[alone.id].video, told[alone.id].tenant) == ("", str(VIDEO), "default")
    now = world.stub.GetJob(pb.GetJobRequest(name=earlier.name))
    assert now.spending.gpu_seconds == pytest.approx(earlier.spending.gpu_seconds + stray.seconds * stray.gpus)
    assert later.state == now.state == pb.Job.STATE_SUCCEEDED


def test_stopped_worker_gives_its_episodes_back(world: World) -> None:
    """A worker that stops leaves its episodes pending, without a lease, for whoever starts next."""
    gate = Gate(0)
    world.reason = gate
    job = world.submit(str(VIDEO), "one?", "two?")
    assert gate.reached.wait(20)
    world.stop()
    gate.opened.set()
    database = Database(str(world.database.engine.sqlalchemy.url))
    view = database.jobs.view(name_of(job))
    assert [row.lease_owner for row in view.episodes] == [None, None]
    assert {row.state for row in view.episodes} == {"pending"}
    assert database.work.due(10) == 2
    database.close()
    world.start()
    assert world.finish(job).state == pb.Job.STATE_SUCCEEDED


def test_stopping_server_ends_its_streams(world: World) -> None:
    """Who follows a job is told that the server stops, and sees the rest elsewhere, from the last position."""
    gate = Gate(0)
    world.reason = gate
    job = world.submit(str(VIDEO))
    stream = world.watch(job)
    seen = [next(stream).position]
    world.servicer.stop_watching()
    with pytest.raises(errors.Unavailable, match="watch again") as caught:
        seen += [event.position for event in stream]
    assert caught.value.reason == "SERVER_STOPPING"
    world.stop()
    gate.opened.set()
    world.start()
    rest = [event.position for event in world.watch(job, seen[-1])]
    assert seen + rest == list(range(1, rest[-1] + 1))


def name_of(job: pb.Job) -> JobName:
    """Returns a job's name, taken apart."""
    return JobName.parse(job.name)


def test_message_that_was_lost(worlds: Callable[..., World]) -> None:
    """A job whose message never reached a worker is found when the next one starts."""
    world = worlds(work=False)
    job = world.submit(str(VIDEO))
    world.stop()
    world.start()
    assert world.finish(job).state == pb.Job.STATE_SUCCEEDED


def test_message_that_comes_twice(world: World) -> None:
    """Waking workers again changes nothing, while an episode runs and after it ended."""
    gate = Gate(1)
    world.reason = gate
    job = world.submit(str(VIDEO))
    assert gate.reached.wait(20)
    nudge = celery_app.nudger(world.app)
    nudge(3)
    gate.opened.set()
    done = world.finish(job)
    nudge(3)
    world.runner.run(nudge)
    assert world.stub.GetJob(pb.GetJobRequest(name=job.name)) == done
    assert kinds(world, job).count("episode_started") == 1


def test_cancelling_a_running_job(world: World) -> None:
    """A cancelled job lets go of its model, and all its episodes end as cancelled."""
    world.reason = lambda _: Reply(SCRIPT[0], delay=3600)
    job = world.submit(str(VIDEO), *(f"Question {number}?" for number in range(6)))
    eventually(lambda: len(world.reasoner.requests) == 4)
    cancelled = world.stub.CancelJob(pb.CancelJobRequest(name=job.name))
    assert cancelled.state == pb.Job.STATE_CANCELLED
    done = world.finish(job)
    assert done.state == pb.Job.STATE_CANCELLED
    assert done.HasField("end_time")
    assert {each.state for each in done.episodes} == {pb.Episode.STATE_CANCELLED}
    assert {each.ending for each in done.episodes} == {pb.Episode.ENDING_CANCELLED}
    eventually(lambda: world.reasoner.disconnects == 4)
    assert world.stub.CancelJob(pb.CancelJobRequest(name=job.name)) == done
    calls = world.database.calls.page(Place(name_of(job).job_id), None, 100)
    assert [row.outcome for row in calls if row.role == "reason"] == ["cancelled"] * 4


def test_model_that_is_down_without_patience(world: World) -> None:
    """An episode whose model is down fails at once, with the reason, when nobody wants to wait."""
    world.reason = lambda _: Reply.error(503)
    done = world.finish(world.submit(str(VIDEO)))
    assert done.state == pb.Job.STATE_FAILED
    error = done.episodes[0].error
    assert (error.code, done.episodes[0].ending) == (14, pb.Episode.ENDING_ERROR)
    assert error.reason.startswith("MODEL_")
    assert "503" in error.message


def test_model_that_is_down_with_patience(worlds: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    """An episode whose model is down says so, also in the log, waits, and goes on when the model is back."""
    caplog.set_level(logging.WARNING, "orchestrator")
    world = worlds(patience=3600)
    world.reason = lambda _: Reply.error(503)
    job = world.submit(str(VIDEO))
    event = next(event for event in world.watch(job) if event.WhichOneof("event") == "episode_waiting")
    assert "503" in event.episode_waiting.reason
    eventually(lambda: any("waits" in line and "503" in line for line in caplog.messages))
    waiting = world.stub.GetJob(pb.GetJobRequest(name=job.name))
    assert (waiting.state, waiting.episodes[0].state) == (pb.Job.STATE_RUNNING, pb.Episode.STATE_PENDING)
    world.reason = lambda number: SCRIPT[number]
    world.runner.run(lambda _: None)
    assert len(world.database.calls.sums(Place(name_of(job).job_id))) == 2, "it is too early to try again"
    world.database.release_all_leases()  # as if the time had passed
    world.runner.run(lambda _: None)
    assert world.finish(job).state == pb.Job.STATE_SUCCEEDED


def test_pool_without_a_replica_is_waited_for(worlds: Callable[..., World]) -> None:
    """Where nobody listens an episode waits and says so, and leaves a count behind by which the model is woken."""
    world = worlds(patience=None)
    url = world.reasoner.url
    world.reasoner.close()
    before = told("longvideo_model_unserved_total")
    with pytest.raises(errors.ModelUnavailable):
        world.runner.check_models()
    assert told("longvideo_model_unserved_total") == before, "a health check wakes nothing"
    job = world.submit(str(VIDEO))
    eventually(lambda: "cannot be reached: Connection refused" in waiting_reason(world, job))
    assert told("longvideo_model_unserved_total") > before
    assert told("longvideo_model_calls_in_flight") == 0, "who waits is not in flight"
    assert world.stub.GetJob(pb.GetJobRequest(name=job.name)).episodes[0].state == pb.Episode.STATE_PENDING
    port = urllib.parse.urlsplit(url).port
    assert port is not None
    world.reasoner = ScriptedModelServer(lambda request: world.reason(round_of(request)), port=port)
    try_again(world)
    assert world.finish(job).state == pb.Job.STATE_SUCCEEDED


def told(name: str) -> float:
    """Returns what Prometheus is told of the reasoner by this process."""
    value = metrics.REGISTRY.get_sample_value(name, {"role": "reason", "pool": "h800"})
    assert value is not None
    return value


def test_busy_service_is_waited_for(worlds: Callable[..., World]) -> None:
    """An episode waits for a service that says when it has room, and for one whose own time ran out."""
    world = worlds(patience=None)
    busy = errors.ResourceExhausted("the server is busy", reason="SERVER_BUSY")
    busy.retry_after = 120.0
    problems: list[errors.LongVideoError] = [busy]

    def caption(_: tuple[int, ...]) -> str:
        raise problems[-1]

    world.services.caption = caption
    job = world.submit(str(VIDEO))
    eventually(lambda: waiting_reason(world, job) == "the server is busy")
    assert not_before(world, job) > time.time() + 60, "as long as it was told"
    problems.append(errors.DeadlineExceeded("its servers said nothing in time"))
    try_again(world)
    eventually(lambda: waiting_reason(world, job) == "its servers said nothing in time")
    world.services.caption = lambda path: f"caption of {path}"
    try_again(world)
    assert world.finish(job).state == pb.Job.STATE_SUCCEEDED
    assert waiting_reason(world, job) == ""


def try_again(world: World) -> None:
    """Takes up what waits, as if the time had passed."""
    world.database.release_all_leases()
    world.runner.run(lambda _: None)


def waiting_reason(world: World, job: pb.Job) -> str:
    """Returns why a job waits."""
    return world.stub.GetJob(pb.GetJobRequest(name=job.name)).waiting_reason


def not_before(world: World, job: pb.Job) -> float:
    """Returns when a job's first episode may be taken up again."""
    return world.database.jobs.view(name_of(job)).episodes[0].not_before


def test_limit_that_no_waiting_changes(worlds: Callable[..., World]) -> None:
    """An episode fails at once for a limit that stays as it is, however patient."""
    world = worlds(patience=None)

    def caption(_: tuple[int, ...]) -> str:
        raise errors.ResourceExhausted("the answer is larger than a message", reason="TOO_LARGE")

    world.services.caption = caption
    assert world.finish(world.submit(str(VIDEO))).episodes[0].error.reason == "TOO_LARGE"


def test_models_that_stay_away(worlds: Callable[..., World]) -> None:
    """An episode whose models stay away fails when its own time is over, and not before, with what was wrong."""
    world = worlds(patience=None)
    world.reason = lambda _: Reply.error(503)
    limits = pb.EpisodeLimits()
    limits.max_duration.seconds = 3600
    job = world.submit(str(VIDEO), limits=limits)
    eventually(lambda: "503" in waiting_reason(world, job))
    with world.database.engine.write() as session:  # as if the time were nearly over
        session.execute(sa.update(EpisodeRow).values(start_time=time.time() - 3597))
    try_again(world)
    error = world.finish(job).episodes[0].error
    assert error.reason.startswith("MODEL_")
    assert "503" in error.message


def test_batch_work_says_so(world: World) -> None:
    """A batch job tells the models' services that nobody waits for it; a job tells which it is."""
    for priority in (types_pb2.PRIORITY_INTERACTIVE, types_pb2.PRIORITY_BATCH):
        world.services.made.clear()
        world.services.caption_requests.clear()
        world.services.qa_requests.clear()
        done = world.finish(world.submit(str(VIDEO), priority=priority))
        assert done.priority == priority
        asked = [*world.services.caption_requests, *world.services.qa_requests]
        assert {request.priority for request in asked} == {priority}
    assert world.submit(str(VIDEO)).priority == types_pb2.PRIORITY_INTERACTIVE
    with pytest.raises(errors.InvalidArgument, match=r"job.priority is 9"):
        world.submit(str(VIDEO), priority=9)


def test_queue_stays_short(worlds: Callable[..., World]) -> None:
    """However many questions are submitted, few messages lie in the queue, and all are answered."""
    world = worlds(work=False)
    jobs = [world.submit(str(VIDEO), *(f"Question {number}?" for number in range(60))) for _ in range(3)]
    world.runner.sweep(celery_app.nudger(world.app))
    assert 0 < queued(world) <= celery_app.QUEUE_LIMIT
    world.worker = celery_app.start_worker(world.app, world.runner, world.cleaner, 8)
    assert all(world.finish(job).state == pb.Job.STATE_SUCCEEDED for job in jobs)
    eventually(lambda: queued(world) == 0)


def queued(world: World) -> int:
    """Returns how many messages lie in the queue."""
    with world.app.connection_for_write() as connection:
        queue: Any = world.app.amqp.queues[world.app.conf.task_default_queue]
        return int(queue(connection.default_channel).queue_declare().message_count)


def test_model_that_refuses(world: World) -> None:
    """An episode whose model refuses the request fails with what the model server said, however patient."""
    world.reason = lambda _: Reply.error(401, "who are you?")
    done = world.finish(world.submit(str(VIDEO)))
    assert done.episodes[0].error.code == 9
    assert "who are you?" in done.episodes[0].error.message


def test_caption_that_cannot_be_made(world: World) -> None:
    """An episode fails with the error of the service that it needs."""

    def caption(_: tuple[int, ...]) -> str:
        raise errors.VideoChanged("the stored bytes are not the ones that were indexed")

    world.services.caption = caption
    done = world.finish(world.submit(str(VIDEO)))
    assert done.episodes[0].error.reason == "VIDEO_CHANGED"


def test_time_that_runs_out(world: World) -> None:
    """An episode whose time passes ends without an answer, and says so."""
    world.reason = lambda _: Reply(SCRIPT[0], delay=3600)
    limits = pb.EpisodeLimits()
    limits.max_duration.FromMilliseconds(700)
    done = world.finish(world.submit(str(VIDEO), limits=limits))
    (only,) = done.episodes
    assert (only.state, only.ending) == (pb.Episode.STATE_UNANSWERED, pb.Episode.ENDING_TIME_EXHAUSTED)
    assert (only.error.code, only.error.reason) == (0, "TIME_EXHAUSTED")
    assert done.state == pb.Job.STATE_SUCCEEDED


def test_rounds_that_run_out(world: World) -> None:
    """An episode whose last round passes ends without an answer, and says so."""
    world.reasoner.owned_by = "a server that holds no reply to a pattern"
    world.reason = lambda _: SCRIPT[0]
    done = world.finish(world.submit(str(VIDEO), limits=pb.EpisodeLimits(max_rounds=2)))
    (only,) = done.episodes
    assert (only.state, only.ending) == (pb.Episode.STATE_UNANSWERED, pb.Episode.ENDING_ROUNDS_EXHAUSTED)
    assert only.error.reason == "ROUNDS_EXHAUSTED"


def test_transcript_of_a_single_round(world: World) -> None:
    """The transcript is what the reasoner saw, also when its first round is its last."""
    world.reason = lambda _: SCRIPT[2]
    done = world.finish(world.submit(str(VIDEO), limits=pb.EpisodeLimits(max_rounds=1)))
    view = pb.GetEpisodeRequest(name=done.episodes[0].name, view=pb.EPISODE_VIEW_FULL)
    told = [{"role": each.role, "content": each.text} for each in world.stub.GetEpisode(view).transcript]
    assert told[:-1] == world.reasoner.requests[-1]["messages"]
    assert "last round" in told[1]["content"]


def test_defect_ends_one_episode(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A defect fails its own episode with a reference that the log has, and harms no other."""
    original = world.client.describe

    def describe(*_: Any, **__: Any) -> Any:
        world.client.describe = original  # type: ignore[method-assign]
        raise ZeroDivisionError("a defect")

    world.client.describe = describe  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR):
        broken = world.finish(world.submit(str(VIDEO)))
    error = broken.episodes[0].error
    assert (error.code, error.reason) == (13, "INTERNAL")
    assert error.message.rpartition(" ")[2].rstrip(".") in caplog.text
    assert world.finish(world.submit(str(VIDEO))).state == pb.Job.STATE_SUCCEEDED


def test_many_episodes_at_one_time(world: World) -> None:
    """All questions of a job are answered, more than there are threads, and every event has its place."""
    job = world.submit(str(VIDEO), *(f"Question {number}?" for number in range(20)))
    events = list(world.watch(job))
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert sum(event.WhichOneof("event") == "episode_ended" for event in events) == 20
    assert world.stub.GetJob(pb.GetJobRequest(name=job.name)).state == pb.Job.STATE_SUCCEEDED


def test_two_stacks_in_one_process(tmp_path: Path) -> None:
    """Two orchestrators in one process take no episode from each other."""
    pair = [World(tmp_path / name) for name in ("a", "b")]
    try:
        for world in pair:
            add_video(world.database)
        jobs = [(world, world.submit(str(VIDEO))) for world in pair for _ in range(3)]
        assert all(world.finish(job).state == pb.Job.STATE_SUCCEEDED for world, job in jobs)
        pair[0].stop()
        assert pair[1].finish(pair[1].submit(str(VIDEO))).state == pb.Job.STATE_SUCCEEDED
    finally:
        for world in pair:
            world.close()


# Leases


def test_keeper_notices_what_happens_to_leases(world: World) -> None:
    """A lease ends when another worker has the episode, when its job is cancelled, and when this process stops."""
    world.stop()
    database = Database(str(world.database.engine.sqlalchemy.url))
    job, keeper = submit(database, 3), Keeper(database.work)
    leases = [Lease(f"w{number}") for number in range(3)]
    for number, lease in enumerate(leases, start=1):
        take(database, job, number, lease.owner)
        keeper.add(lease)
    database.work.release(Held(job.job_id, 1, "w0", "default", "v"))
    eventually(lambda: ended(leases[0]) is LeaseLost)
    assert ended(leases[1]) is None
    keeper.remove(leases[2])
    database.jobs.cancel(job)
    eventually(lambda: ended(leases[1]) is errors.Cancelled)
    assert ended(leases[2]) is None, "nobody keeps it any more"
    keeper.add(leases[2])
    keeper.stop()
    assert ended(leases[2]) is Abandoned
    late = Lease("late")
    keeper.add(late)
    assert ended(late) is Abandoned
    database.close()


def ended(lease: Lease) -> type[Exception] | None:
    """Returns why a lease ended, or None."""
    try:
        lease.check()
    except errors.Cancelled as error:
        return type(error)
    return None


# Celery


def test_module_has_an_app_for_celery_alone() -> None:
    """Celery's commands find the app by its name; there is no other such name."""
    assert celery_app.app.main == "longvideo"
    assert set(celery_app.app.tasks) >= {celery_app.RUN_EPISODES, celery_app.SWEEP}
    assert not hasattr(celery_app, "another")


def test_app_for_a_real_broker(world: World) -> None:
    """On a broker that processes share, all use one queue, and a message is acknowledged when its work is done."""
    settings = world.settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    app = celery_app.make_app(settings)
    assert app.conf.task_default_queue == "episodes"
    assert app.conf.task_acks_late
    assert celery_app.SWEEP in app.conf.beat_schedule


def test_process(tmp_path: Path) -> None:
    """`python -m orchestrator` says where it listens, answers there, and stops when it is told to."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGVIDEO_")} | {
        "LONGVIDEO_DATA_DIR": str(tmp_path / "new" / "data"),
        "LONGVIDEO_API_LISTEN": "127.0.0.1:0",
        "LONGVIDEO_ENDPOINTS": '[{"url": "http://127.0.0.1:9/v1", "roles": ["reason"]}]',
    }
    command = [sys.executable, "-m", "orchestrator"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready, _, address = process.stdout.readline().strip().rpartition(" ")
        assert ready == "orchestrator: ready at"
        stub = OrchestratorServiceStub(rpc.connect(address))
        assert list(stub.ListVideos(pb.ListVideosRequest(), timeout=20).videos) == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
