"""What all tests may ask for."""

from __future__ import annotations

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
