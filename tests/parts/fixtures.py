"""The servers as fixtures: one of each for all tests of a run, started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from longvideo.settings import Settings
from orchestrator.wiring import migrate_database
from tests.parts.postgres import Postgres
from tests.parts.redis import Redis
from tests.parts.s3 import KEYS, Bucket, Minio, Moto, Rclone, given_bucket


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A Redis server. Who stops it starts it again."""
    with Redis() as server:
        yield server


@pytest.fixture
def redis_url(redis: Redis) -> str:
    """An empty Redis database."""
    return redis.create()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server. Who stops it starts it again."""
    with Postgres() as server:
        yield server


@pytest.fixture
def empty_postgres_url(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a PostgreSQL database that has all tables, to be copied."""
    name = postgres.create()
    migrate_database(Settings(database_url=postgres.url(name)))
    return name


@pytest.fixture
def postgres_url(postgres: Postgres, migrated: str) -> Iterator[str]:
    """The URL of a PostgreSQL database that has all tables."""
    name = postgres.create(migrated)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """Moto's S3 server."""
    with Moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[Rclone]:
    """Rclone's S3 server."""
    with Rclone() as server:
        yield server


@pytest.fixture(scope="session")
def minio_bucket() -> Iterator[Bucket]:
    """A bucket of MinIO: the one that LONGVIDEO_TEST_S3_URL names, or one of the `minio` on the PATH."""
    bucket = given_bucket()
    if bucket is not None:
        yield bucket
    else:
        with Minio() as server:
            yield Bucket(server.endpoint, server.make_bucket("films"), KEYS)
