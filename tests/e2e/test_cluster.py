"""Every process of a cluster, on PostgreSQL, Redis and S3: what happens when one of them goes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from longvideo import rpc
from longvideo.v1 import orchestrator_pb2 as pb
from tests.e2e.cluster import Cluster, Models, Process, eventually
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
def first(cluster: Cluster) -> Process:
    """A worker."""
    worker = cluster.worker("first")
    worker.ready("ready.")
    return worker


@pytest.fixture(scope="module")
def video(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A video that is ready."""
    return cluster.add(make_video(tmp_path_factory.mktemp("film") / "film.mp4", seconds=8, fps=10))


def test_a_question_is_answered(cluster: Cluster, first: Process, video: str) -> None:
    """A video that was uploaded to S3 is asked about, and a worker answers."""
    done = cluster.finish(cluster.submit(video, "What is it?"))
    assert done.state == pb.Job.STATE_SUCCEEDED
    assert done.episodes[0].answer == "It is 42."
    assert [number for number, _ in cluster.models.asked("What is it?")] == [0, 1, 2]


def test_a_worker_says_how_it_is(cluster: Cluster, first: Process, video: str) -> None:
    """A worker answers health checks, and each line of its log is a JSON object that says for which episode it is."""
    done = cluster.finish(cluster.submit(video, "How are you?"))
    address = first.ready("health checks are answered at").rstrip('"}')
    for name in ("", "database", "broker"):
        with rpc.connect(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def line() -> dict[str, str] | None:
        lines = [json.loads(line) for line in first.said().splitlines() if line.startswith("{")]
        return next((line for line in lines if line.get("episode") == done.episodes[0].name), None)

    found = eventually(line, "the worker has a line about the episode")
    assert (found["service"], found["job"], found["tenant"]) == ("worker", done.name, "default")
    assert {"trace_id", "time", "level", "logger", "message"} <= found.keys()
