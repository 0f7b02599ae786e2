"""Every process of a cluster, on PostgreSQL, Redis and S3: what happens when one of them goes."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client import words
from longvideo import rpc
from longvideo.v1 import orchestrator_pb2 as pb
from tests.e2e.cluster import Cluster, Models, eventually
from tests.media import make_video
from tests.parts import Moto, Postgres, Redis


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    """The scripted models."""
    made = Models()
    yield made
    made.server.close()


@pytest.fixture(scope="module")
def cluster(
    models: Models,
    tmp_path_factory: pytest.TempPathFactory,
    postgres: Postgres,
    migrated: str,
    redis: Redis,
    moto: Moto,
) -> Iterator[Cluster]:
    """A cluster without workers."""
    made = Cluster(
        tmp_path_factory.mktemp("cluster"),
        models,
        database_url=postgres.url(postgres.create(migrated)),
        broker_url=redis.create(),
        object_store=moto.object_store(moto.make_bucket("cluster")),
    )
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def video(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A video that is ready."""
    return cluster.add(make_video(tmp_path_factory.mktemp("film") / "film.mp4", seconds=8, fps=10))


def rounds(cluster: Cluster, question: str) -> list[int]:
    """Returns which rounds the reasoner was asked for."""
    return [number for number, _ in cluster.models.asked(question)]


def reached(cluster: Cluster, question: str, number: int) -> str:
    """Waits until the reasoner is asked for a round, and returns the worker that asks."""
    asked = cluster.models.asked
    eventually(lambda: number in rounds(cluster, question), f"round {number} of {question}")
    return next(worker for each, worker in asked(question) if each == number)


def test_lost_messages(cluster: Cluster, video: str, redis: Redis) -> None:
    """A job whose messages were lost with the broker's data is found when a worker comes: nothing accepted is lost."""
    job = cluster.submit(video, "Is it lost?")
    redis.flush()
    cluster.workers("first", "second")
    done = cluster.finish(job)
    assert done.state == pb.Job.STATE_SUCCEEDED
    assert done.episodes[0].answer == "It is 42."
    assert rounds(cluster, "Is it lost?") == [0, 1, 2]


def test_a_worker_says_how_it_is(cluster: Cluster, video: str) -> None:
    """A worker answers health checks, and each line of its log is a JSON object that says for which episode it is."""
    workers = cluster.workers("first", "second")
    done = cluster.finish(cluster.submit(video, "How are you?"))
    address = workers["first"].ready("health checks are answered at").rstrip('"}')
    for name in ("", "database", "broker", "models"):
        with rpc.connect(address, tls=cluster.tls) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def line() -> dict[str, str] | None:
        said = [line for worker in workers.values() for line in worker.said().splitlines()]
        lines = [json.loads(line) for line in said if line.startswith("{")]
        return next((line for line in lines if line.get("episode") == done.episodes[0].name), None)

    found = eventually(line, "the worker has a line about the episode")
    assert (found["service"], found["job"], found["tenant"]) == ("worker", done.name, "default")
    assert {"trace_id", "time", "level", "logger", "message"} <= found.keys()
    api = next(process for process in cluster.processes if process.name == "orchestrator")
    calls = [json.loads(line) for line in api.said().splitlines() if line.startswith("{")]
    of_job = [line.get("method") for line in calls if line.get("job") == done.name]
    assert {"SubmitJob", "GetJob"} <= set(of_job)


def test_a_worker_that_is_told_to_stop(cluster: Cluster, video: str) -> None:
    """It finishes the round, another goes on at once, and no model is asked twice."""
    workers = cluster.workers("first", "second")
    gate = cluster.models.hold("Who goes on?", 1)
    job = cluster.submit(video, "Who goes on?")
    worker = workers[reached(cluster, "Who goes on?", 1)]
    worker.send(signal.SIGTERM)
    gate.set()
    assert cluster.finish(job).state == pb.Job.STATE_SUCCEEDED
    assert worker.popen.wait(30) == 0
    assert rounds(cluster, "Who goes on?") == [0, 1, 2]
    assert [by == worker.name for _, by in cluster.models.asked("Who goes on?")] == [True, True, False]


def calls_of(cluster: Cluster, job: pb.Job, role: str) -> list[tuple[int, str]]:
    """Returns the round and the outcome of each call of a job to the models of a role."""
    entries = [entry for page in cluster.stub.ExportUsage(pb.ExportUsageRequest()) for entry in page.entries]
    own = [entry for entry in entries if entry.job == job.name and words.role(entry.call.role) == role]
    return sorted((entry.round, words.outcome(entry.call.outcome)) for entry in own)


def test_grace_that_runs_out_in_the_middle_of_a_call(cluster: Cluster, video: str) -> None:
    """What is in flight is given up and counted once, and another worker takes the same round up at once.

    The reasoner is asked again; where it had decided, only its action is carried out again. What a service gave up is
    in the ledger too, although the worker did not wait to hear of it.
    """
    for process in cluster.processes:
        if process.name in {"first", "second"} and process.popen.poll() is None:
            assert process.end() == 0
    hasty = cluster.worker("hasty", grace_seconds="1")
    hasty.ready(" ready.")
    gates, before = (cluster.models.hold("Is there time?", 1), cluster.models.hold_clips()), len(cluster.models.clips())
    thinking, looking = (cluster.submit(video, question) for question in ("Is there time?", "Is it seen?"))
    reached(cluster, "Is there time?", 1)
    eventually(lambda: len(cluster.models.clips()) > before, "a clip is looked at")
    cluster.workers("first")
    assert hasty.end(signal.SIGTERM) == 0
    for gate in gates:
        gate.set()
    for job in (thinking, looking):
        done = cluster.finish(job)
        assert (done.state, done.episodes[0].round_count) == (pb.Job.STATE_SUCCEEDED, 3)
    asked = cluster.models.asked("Is there time?")
    assert asked == [(0, "hasty"), (1, "hasty"), (1, "first"), (2, "first")]
    assert calls_of(cluster, thinking, "reason") == [(1, "ok"), (2, "cancelled"), (2, "ok"), (3, "ok")]
    assert cluster.models.asked("Is it seen?") == [(0, "hasty"), (1, "hasty"), (2, "first")]
    assert len(cluster.models.clips()) == before + 3, "one twice, and one of the other job"
    # The service told it with one of the two answers that it gave after that.
    assert calls_of(cluster, looking, "qa") == [(0, "cancelled"), (2, "ok")]


def test_a_worker_that_is_killed(cluster: Cluster, video: str) -> None:
    """Another takes its episode over when the lease has ended, and repeats only the call that had no answer."""
    workers = cluster.workers("first", "second")
    gate = cluster.models.hold("Who is dead?", 1)
    job = cluster.submit(video, "Who is dead?")
    workers[reached(cluster, "Who is dead?", 1)].end(signal.SIGKILL)
    gate.set()
    assert cluster.finish(job).state == pb.Job.STATE_SUCCEEDED
    assert rounds(cluster, "Who is dead?") == [0, 1, 1, 2]


def test_a_second_signal(cluster: Cluster, video: str) -> None:
    """A second signal ends a worker at once, in the middle of a call."""
    gate = cluster.models.hold("Now?", 0)
    workers = cluster.workers("first", "second")
    job = cluster.submit(video, "Now?")
    worker = workers[reached(cluster, "Now?", 0)]
    worker.send(signal.SIGTERM)
    eventually(lambda: "told to stop" in worker.said(), "it heard the first")
    assert worker.end(signal.SIGTERM) == 128 + signal.SIGTERM
    gate.set()
    assert cluster.finish(job).state == pb.Job.STATE_SUCCEEDED


def test_the_database_goes(cluster: Cluster, video: str, postgres: Postgres) -> None:
    """What a model says while the database is away is kept, and not asked for again."""
    cluster.workers("first", "second")
    gate = cluster.models.hold("Where is it?", 1)
    job = cluster.submit(video, "Where is it?")
    worker = cluster.workers("first", "second")[reached(cluster, "Where is it?", 1)]
    postgres.kill()
    gate.set()
    try:
        eventually(lambda: "trying again" in worker.said(), "the worker notices")
    finally:
        postgres.start()
    assert cluster.finish(job).state == pb.Job.STATE_SUCCEEDED
    assert rounds(cluster, "Where is it?") == [0, 1, 2]


def test_the_broker_goes(cluster: Cluster, video: str, redis: Redis) -> None:
    """Jobs are accepted while the broker is away, and carried out when it is back."""
    cluster.workers("first", "second")
    redis.kill()
    try:
        job = cluster.submit(video, "Is it there?")
    finally:
        redis.start()
    assert cluster.finish(job).state == pb.Job.STATE_SUCCEEDED
    assert rounds(cluster, "Is it there?") == [0, 1, 2]


def test_the_broker_goes_from_a_worker_at_work(cluster: Cluster, video: str, redis: Redis) -> None:
    """A worker outlives its broker: its episodes go on, and it takes new ones up when the broker is back."""
    workers = cluster.workers("first", "second")
    gate = cluster.models.hold("Does it live?", 1)
    job = cluster.submit(video, "Does it live?")
    worker = workers[reached(cluster, "Does it live?", 1)]
    beat = next(process for process in cluster.processes if process.name == "beat")
    before = len(worker.said())
    redis.kill()
    try:
        eventually(lambda: "Connection to broker lost" in worker.said(), "the worker notices")
        eventually(lambda: "cannot reach the broker" in beat.said(), "the clock notices")
        gate.set()
        assert cluster.finish(job).state == pb.Job.STATE_SUCCEEDED
    finally:
        redis.start()
    assert cluster.finish(cluster.submit(video, "And then?")).state == pb.Job.STATE_SUCCEEDED
    assert rounds(cluster, "Does it live?") == [0, 1, 2]
    assert worker.popen.poll() is None
    assert "Traceback" not in worker.said()[before:] + beat.said()
    lines = worker.said().splitlines() + beat.said().splitlines()
    assert {json.loads(line)["level"] for line in lines} >= {"info", "warning"}
    assert "Task orchestrator" not in worker.said()


def test_two_clients_with_one_request(cluster: Cluster, video: str) -> None:
    """Clients that race with one request id get one job."""
    request_id = str(uuid.uuid4())
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: cluster.submit(video, "One?", request_id=request_id), range(8)))
    assert len({job.name for job in jobs}) == 1
    cluster.workers("first", "second")
    assert cluster.finish(jobs[0]).state == pb.Job.STATE_SUCCEEDED
    assert rounds(cluster, "One?") == [0, 1, 2]


def test_a_cancelled_job(cluster: Cluster, video: str) -> None:
    """A job that is cancelled lets go of its model call and ends."""
    cluster.workers("first", "second")
    gate = cluster.models.hold("Still?", 0)
    job = cluster.submit(video, "Still?")
    reached(cluster, "Still?", 0)
    cluster.stub.CancelJob(pb.CancelJobRequest(name=job.name))
    done = cluster.finish(job)
    gate.set()
    assert done.state == pb.Job.STATE_CANCELLED
    assert rounds(cluster, "Still?") == [0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"broker_url": "memory://"}, "LONGVIDEO_BROKER_URL"),
        ({"database_url": "sqlite:////nowhere/x.db"}, "/nowhere/x.db"),
        ({"endpoints": "[]"}, "No endpoint serves the role reason"),
        ({"grace_seconds": "soon"}, "grace_seconds"),
    ],
)
def test_a_worker_that_cannot_work(cluster: Cluster, settings: dict[str, str], said: str) -> None:
    """A worker that lacks something does not start, and says what."""
    worker = cluster.run("broken", "celery", "-A", "orchestrator.celery_app", "worker", **settings)
    assert worker.popen.wait(60) == 2
    assert said in worker.said()
    assert "Traceback" not in worker.said()


def test_nothing_is_left(cluster: Cluster) -> None:
    """At the end every process stops when it is told to, and Celery has left no file."""
    running = [process for process in cluster.processes if process.popen.poll() is None]
    assert {process.name for process in running} >= {"orchestrator", "caption_svc", "qa_svc", "beat"}
    for process in running:
        process.send(signal.SIGTERM)
    assert {process.popen.wait(30) for process in running} == {0}
    assert {path.suffix for path in cluster.directory.iterdir() if path.is_file()} == {".log"}
