"""What an operator does with a release: Helm's own engine, kubectl, and `longvideo cluster`."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from client import cli
from client.cluster.access import Kubernetes, Which, open_kubernetes
from client.cluster.release import INSTANCE
from longvideo.errors import NotFound
from tests.chart.rendering import CHART, REPOSITORY
from tests.parts import free_port

KUBECTL = shutil.which("kubectl", path=sysconfig.get_path("scripts")) or "kubectl"
RELEASE = "longvideo"
MADE = (
    *(("/api/v1", each) for each in ("pods", "services", "serviceaccounts", "configmaps", "secrets")),
    *(("/apis/apps/v1", "deployments"), ("/apis/batch/v1", "jobs"), ("/apis/policy/v1", "poddisruptionbudgets")),
    *(("/apis/networking.k8s.io/v1", "networkpolicies"), ("/apis/cert-manager.io/v1", "certificates")),
    *(("/apis/rbac.authorization.k8s.io/v1", "roles"), ("/apis/rbac.authorization.k8s.io/v1", "rolebindings")),
)
"""What the chart makes objects of, with the offline models."""


class Trial:
    """A release in a namespace of its own, of the cluster that a kubeconfig names; None for the usual one."""

    def __init__(self, namespace: str, kubeconfig: Path | None = None, **options: Any) -> None:
        self.namespace = namespace
        self.kubeconfig = kubeconfig
        self.helm = helm.Config(kubeconfig_path=kubeconfig, namespace=namespace, **options)

    def api(self) -> Kubernetes:
        """Returns the API of the cluster."""
        return open_kubernetes(Which(kubeconfig=self.kubeconfig, namespace=self.namespace))

    def install(self, values: dict[str, Any], timeout: int, wait: str | None = None) -> None:
        """Installs the chart of this checkout."""
        self.helm.install(str(CHART), RELEASE, values, timeout=timeout, wait=wait)

    def upgrade(self, values: dict[str, Any], timeout: int, wait: str | None = None) -> None:
        """Upgrades the release to these values."""
        self.helm.upgrade(str(CHART), RELEASE, values, timeout=timeout, wait=wait)

    def roll_back(self, revision: int, timeout: int, wait: str | None = None) -> None:
        """Brings a revision back."""
        self.helm.rollback(RELEASE, version=revision, timeout=timeout, wait=wait)

    def test(self, timeout: int) -> str:
        """Runs `helm test`, and returns the log of its pod."""
        return str(self.helm.test(RELEASE, timeout=timeout, logs=True)["logs"])

    def uninstall(self, timeout: int) -> None:
        """Uninstalls the release."""
        self.helm.uninstall(RELEASE, timeout=timeout)

    def revisions(self) -> list[tuple[int, str]]:
        """Returns the numbers of all revisions, and how each ended."""
        return [(int(each["revision"]), str(each["status"])) for each in self.helm.history(RELEASE)]

    def left(self) -> list[str]:
        """Returns what the namespace holds of the release."""
        api = self.api()
        found = []
        for group, plural in MADE:
            with contextlib.suppress(NotFound):  # a kind that this cluster does not have
                found += [
                    f"{plural}/{each['metadata']['name']}"
                    for each in api.items(group, plural, selector=f"{INSTANCE}={RELEASE}")
                ]
        return found

    def type(self, *command: str) -> int:
        """Types `longvideo cluster …`, and returns its exit code."""
        where = ["--namespace", self.namespace]
        if self.kubeconfig is not None:
            where += ["--kubeconfig", str(self.kubeconfig)]
        return cli.run(["cluster", *command, *where])

    def kubectl(self, *arguments: str, send: str | None = None) -> str:
        """Runs kubectl in the namespace, and returns what it writes."""
        done = subprocess.run(
            [*self._kubectl(), *arguments], input=send, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _kubectl(self) -> list[str]:
        where = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        return [KUBECTL, *where, "--namespace", self.namespace]

    def apply(self, folder: Path) -> None:
        """Applies a folder of k8s/, in this trial's namespace in place of its own."""
        made = self.kubectl("kustomize", str(folder))
        self.kubectl("apply", "--server-side", "--filename", "-", send=self.moved(made))

    def moved(self, text: str) -> str:
        """Returns objects as they are in this trial's namespace."""
        objects = [each for each in yaml.safe_load_all(text) if each]
        for each in objects:
            if each["kind"] == "Namespace":
                each["metadata"]["name"] = self.namespace
            elif "namespace" in each["metadata"]:
                each["metadata"]["namespace"] = self.namespace
        return yaml.safe_dump_all(objects)

    @contextlib.contextmanager
    def forwarded(self, service: str, port: int, here: int) -> Iterator[None]:
        """Forwards a port of this machine to a Service while the context lasts."""
        process = subprocess.Popen(
            [*self._kubectl(), "port-forward", f"service/{service}", f"{here}:{port}"], stdout=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 60
            while not _answers(here):
                assert process.poll() is None, f"port-forward of {service} ended"
                assert time.monotonic() < deadline, f"port-forward of {service} does not answer"
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait()


def values(image: str, storage_port: int, **more: Any) -> dict[str, Any]:
    """Returns the values of k8s/dev, for an image and for a storage that clients find at a port of this machine."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "k8s" / "dev" / "values.yaml").read_text("utf-8"))
    repository, _, tag = image.rpartition(":")
    url = found["objectStore"]["url"].replace("localhost:9000", f"localhost:{storage_port}")
    return {
        **found,
        "objectStore": {**found["objectStore"], "url": url},
        "image": {"repository": repository, "tag": tag},
        **more,
    }


def a_port() -> int:
    """Returns a port of this machine that is free."""
    return free_port()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False
