"""A release on a real cluster: installed, tested, used, hurt, scaled, upgraded, rolled back and removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.api import Client
from client.cluster.question import ASKED, shoot
from client.cluster.release import APPS, CORE
from longvideo import __version__, rpc
from longvideo.v1 import orchestrator_pb2 as pb
from tests.chart.rendering import REPOSITORY
from tests.cluster.trial import RELEASE, Trial, a_port, values

_MINUTES = 60
_NUMBER = 4217

pytestmark = pytest.mark.timeout(60 * _MINUTES)


@pytest.fixture
def trial() -> Iterator[Trial]:
    """A namespace of its own with the stores of k8s/dev, which is removed in the end with all that is in it."""
    if not os.environ.get("TEST_CLUSTER"):
        pytest.skip("needs a cluster: make test-cluster")
    made = Trial(f"longvideo-test-{secrets.token_hex(3)}")
    made.apply(REPOSITORY / "k8s" / "namespace")
    try:
        made.apply(REPOSITORY / "k8s" / "dev")
        stores = ("--selector", "app.kubernetes.io/part-of=longvideo-dev")
        made.kubectl("wait", "--for=condition=Available", "deployment", *stores, "--timeout=600s")
        yield made
    finally:
        made.kubectl("delete", "namespace", made.namespace, "--wait=false")


def test_a_release_from_its_beginning_to_its_end(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each thing that an operator does with a release works, in the order in which it is done."""
    image = os.environ.get("TEST_CLUSTER_IMAGE") or f"longvideo:{__version__}"
    storage, port = a_port(), a_port()
    first = values(image, storage)
    trial.install(first, 15 * _MINUTES, wait="watcher")
    assert "question: a film was uploaded, asked about and answered right" in trial.test(15 * _MINUTES)
    assert trial.type("doctor") == 0, capsys.readouterr().out

    with contextlib.ExitStack() as stack:
        stack.enter_context(trial.forwarded("longvideo-dev-s3", 9000, storage))
        stack.enter_context(trial.forwarded(f"{RELEASE}-api", 7700, port))
        channel = stack.enter_context(contextlib.closing(rpc.connect(f"127.0.0.1:{port}")))
        _a_worker_dies(trial, Client(channel), shoot(tmp_path / "film.mp4", _NUMBER))

    assert trial.type("scale", "worker", "2") == 0
    _eventually(lambda: _ready(trial, "worker") == 2, "a second worker")
    second = values(image, storage, worker={"replicas": 2}, settings={"grace_seconds": 25, "log_level": "debug"})
    trial.upgrade(second, 15 * _MINUTES, wait="watcher")
    assert "debug" in _settings(trial)
    # Helm changes no number that somebody else has set to another.
    assert trial.type("scale", "worker", "1") == 0
    trial.roll_back(1, 15 * _MINUTES, wait="watcher")
    assert "debug" not in _settings(trial)
    assert [number for number, _ in trial.revisions()] == [1, 2, 3]
    assert trial.type("status") == 0
    assert "offline-models" in capsys.readouterr().out

    trial.uninstall(10 * _MINUTES)
    _eventually(lambda: not trial.left(), f"nothing is left: {trial.left()}")


def _a_worker_dies(trial: Trial, client: Client, film: Path) -> None:
    """Submits a job, kills the worker that carries it out, and sees it end with the right answer."""
    video = client.add_video(film)
    questions = [pb.Question(text=ASKED), pb.Question(text="Which number is the gate's, and what comes after it?")]
    job = client.submit(video.name, questions, pb.TreeConfig(), pb.EpisodeLimits())
    for event in client.watch(job.name):
        if event.WhichOneof("event") in {"caption_ready", "round_decided"}:
            break
    trial.kubectl("delete", "pod", "--selector", "app.kubernetes.io/component=worker", "--force", "--grace-period=0")
    for _ in client.watch(job.name):
        pass
    ended = client.job(job.name)
    assert [episode.state for episode in ended.episodes] == [pb.Episode.STATE_ANSWERED] * 2
    assert str(_NUMBER) in ended.episodes[0].answer


def _ready(trial: Trial, component: str) -> int:
    selector = f"app.kubernetes.io/component={component}"
    (found,) = trial.api().items(APPS, "deployments", selector=selector)
    return int(found.get("status", {}).get("readyReplicas") or 0)


def _settings(trial: Trial) -> str:
    path = f"{CORE}/namespaces/{trial.namespace}/configmaps/{RELEASE}-settings"
    return str(trial.api().get(path)["data"]["settings.toml"])


def _eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 5 * _MINUTES
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(1)
