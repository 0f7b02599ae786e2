"""What all tests may ask for."""

from __future__ import annotations

from hypothesis import settings

from tests.parts.fixtures import (
    empty_postgres_url,
    migrated,
    minio_bucket,
    moto,
    postgres,
    postgres_url,
    rclone,
    redis,
    redis_url,
)

# No test says how long it takes: the machine may have other things to do.
settings.register_profile("longvideo", deadline=None)
settings.load_profile("longvideo")

__all__ = [
    "empty_postgres_url",
    "migrated",
    "minio_bucket",
    "moto",
    "postgres",
    "postgres_url",
    "rclone",
    "redis",
    "redis_url",
]
