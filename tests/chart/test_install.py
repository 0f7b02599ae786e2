"""The chart in the hands of Helm's own engine: installed, tested, upgraded, rolled back and removed, over HTTP.

What answers is the API of Kubernetes that the tests have, in which every hook succeeds; `make test-cluster` does the
same on a real cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.rendering import REPOSITORY
from tests.cluster.trial import Trial, values
from tests.parts import controllers
from tests.parts.kubernetes import Kubernetes, Object

_SECONDS = 60
FIRST = values("registry.internal/longvideo:1", 9000)


@pytest.fixture
def server() -> Iterator[Kubernetes]:
    """A cluster in which jobs and pods end well."""
    made = Kubernetes()
    for kind in ("cert-manager.io", "keda.sh", "serving.kserve.io"):
        made.without(kind)
    made.changed = _succeed
    yield made
    made.close()


def _succeed(server: Kubernetes) -> None:
    for job in server.all("jobs"):
        job["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
    for pod in server.all("pods"):
        pod["status"] = {"phase": "Succeeded"}


@pytest.fixture
def trial(server: Kubernetes, tmp_path: Path) -> Trial:
    """A release in that cluster. Helm keeps its revisions in memory: it would send them in a form of Go's own."""
    return Trial("video", server.kubeconfig(tmp_path / "kubeconfig"), storage_driver="memory")


def test_a_release_from_its_beginning_to_its_end(trial: Trial, server: Kubernetes) -> None:
    """Hooks run in their order, an upgrade changes what it is to change, a rollback takes it back; nothing is left."""
    trial.install(FIRST, _SECONDS)
    done = [request.split("?")[0] for request in server.requests if request.startswith(("PATCH", "DELETE"))]
    jobs = "PATCH /apis/batch/v1/namespaces/video/jobs/longvideo-migrations"
    assert done.index(jobs) < done.index("PATCH /apis/apps/v1/namespaces/video/deployments/longvideo-api")
    assert not any("migrations" in name for name in trial.left()), "what hooks needed is gone"

    log = trial.test(_SECONDS)
    assert "the log of longvideo-test" in log
    assert server.all("pods") == []

    trial.upgrade({**FIRST, "worker": {"replicas": 3}}, _SECONDS)
    assert _worker(server)["spec"]["replicas"] == 3
    trial.roll_back(1, _SECONDS)
    assert _worker(server)["spec"]["replicas"] == 1
    assert [number for number, _ in trial.revisions()] == [1, 2, 3]

    trial.uninstall(_SECONDS)
    assert trial.left() == []


def test_the_operator_sees_what_helm_has_installed(
    trial: Trial, server: Kubernetes, capsys: pytest.CaptureFixture[str]
) -> None:
    """`longvideo cluster` finds the release, its parts and its models, and the doctor the secrets that it lacks."""
    trial.install(FIRST, _SECONDS)
    for each in server.all("deployments"):
        controllers.run(server, each)
    assert trial.type("status") == 0
    shown = capsys.readouterr().out
    assert "longvideo in video" in shown
    assert "offline-captioner" in shown
    assert trial.type("doctor", "--only", "secrets") == 1
    assert "there is no secret longvideo-broker" in capsys.readouterr().out
    assert trial.type("scale", "qa", "2") == 0
    assert server.get("deployments", "longvideo-qa")["spec"]["replicas"] == 2


def test_the_stores_of_a_trial_move_to_its_namespace(trial: Trial) -> None:
    """The objects of k8s/namespace and k8s/dev are those of the trial's own namespace."""
    for folder in ("namespace", "dev"):
        moved = trial.moved(trial.kubectl("kustomize", str(REPOSITORY / "k8s" / folder)))
        assert "namespace: longvideo\n" not in moved
        assert "\n  name: longvideo\n" not in moved


def _worker(server: Kubernetes) -> Object:
    return server.get("deployments", "longvideo-worker")
