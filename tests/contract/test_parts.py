"""The servers that tests start: they keep what they promise when they are stopped, killed and started again.

And the API of Kubernetes, which is ours: Kubernetes' own command takes it for one.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.parts import Postgres, Redis, controllers
from tests.parts.kubernetes import Kubernetes

KUBECTL = shutil.which("kubectl", path=sysconfig.get_path("scripts")) or "kubectl"


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


def test_kubectl_takes_the_api_for_a_cluster(tmp_path: Path) -> None:
    """Kubectl lists by labels, scales and deletes there, and is told what it is told by a real cluster."""
    server = Kubernetes()
    kubeconfig = str(server.kubeconfig(tmp_path / "kubeconfig"))

    def kubectl(*arguments: str) -> str:
        done = subprocess.run(
            [KUBECTL, "--kubeconfig", kubeconfig, "--cache-dir", str(tmp_path / "cache"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr

    server.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "video"}})
    pod = {"containers": [{"name": "one", "image": "image"}]}
    server.add(controllers.deployment("web", "video", {"app": "web"}, pod))
    assert "deployment.apps/web scaled" in kubectl("scale", "deployment/web", "--replicas=4")
    assert server.get("deployments", "web")["spec"]["replicas"] == 4
    assert "web" in kubectl("get", "deployments", "--selector", "app=web")
    assert "No resources found" in kubectl("get", "deployments", "--selector", "app=other")
    assert 'deployments.apps "other" not found' in kubectl("get", "deployment", "other")
    server.forbidden = {("list", "secrets")}
    assert 'cannot list resource "secrets"' in kubectl("get", "secrets")
    server.without("serving.kserve.io")
    assert "could not find the requested resource" in kubectl("get", "inferenceservices")
    assert "deleted" in kubectl("delete", "deployment", "web", "--wait=false")
    assert server.all("deployments") == []
    server.close()
