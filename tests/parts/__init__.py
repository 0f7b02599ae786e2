"""Real servers for tests, from packages, on free loopback ports, without root.

Each is a class and a context. Between `start` and `close` it can be stopped, killed and started again, on the same port
and, but for Redis and moto, which keep everything in memory, with the same data.
"""

from __future__ import annotations

from tests.parts.postgres import Postgres
from tests.parts.proxy import Proxy
from tests.parts.redis import Redis
from tests.parts.s3 import KEYS, Bucket, Minio, Moto, Rclone, S3Server, has_minio
from tests.parts.server import Server, free_port

__all__ = [
    "KEYS",
    "Bucket",
    "Minio",
    "Moto",
    "Postgres",
    "Proxy",
    "Rclone",
    "Redis",
    "S3Server",
    "Server",
    "free_port",
    "has_minio",
]
