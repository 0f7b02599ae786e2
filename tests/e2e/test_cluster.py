"""Every process of a cluster, on PostgreSQL, Redis and S3: what happens when one of them goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from longvideo.v1 import orchestrator_pb2 as pb
from tests.e2e.cluster import Cluster, Models, Process
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
