"""The servers that tests start: they keep what they promise when they are stopped, killed and started again."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.parts import Postgres, Redis


@pytest.mark.parametrize("end", [Postgres.stop, Postgres.kill])
def test_postgres_keeps_its_data(end: Callable[[Postgres], None]) -> None:
    """What was committed is there after a stop and after a crash, at the same address."""
    with Postgres() as server:
        url = server.url(server.create()).replace("+psycopg", "")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        end(server)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_redis_loses_its_data() -> None:
    """What Redis held is gone after it was killed, and it answers at the same address."""
    with Redis() as server, server.client() as client:
        client.set("name", "value")
        server.kill()
        with pytest.raises(RedisConnectionError):
            client.get("name")
        server.start()
        assert client.get("name") is None
