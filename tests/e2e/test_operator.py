"""`longvideo cluster`, typed against the API of Kubernetes with a release in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client import cli
from tests.chart.rendering import rendered
from tests.parts import controllers
from tests.parts.kubernetes import Kubernetes

REASONER = "demo-longvideo-reasoner-a800"
VISION = "demo-longvideo-vision-h800"
_SECRETS = {
    "longvideo-database": {"url": "postgresql://longvideo:hidden@db/longvideo"},
    "longvideo-broker": {"url": "redis://redis/0"},
    "longvideo-s3": {"accessKey": "key", "secretKey": "hidden"},
    "longvideo-models": {"apiKey": "hidden"},
    "demo-longvideo-tls": {"tls.crt": "x", "tls.key": "x", "ca.crt": "x"},
    "demo-longvideo-api-tls": {"tls.crt": "x", "tls.key": "x"},
}
_POOLS = {"h800": "NVIDIA-H800", "a800": "NVIDIA-A800-SXM4-80GB"}


@dataclass
class Operator:
    """Somebody with a cluster, and a terminal."""

    server: Kubernetes
    kubeconfig: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Types a command, and returns what it writes."""
        command, *rest = arguments
        ended = cli.run(["cluster", command, "--kubeconfig", str(self.kubeconfig), *rest])
        out, err = self.capsys.readouterr()
        assert ended == code, out + err
        assert "Traceback" not in err
        return out + err

    def failures(self, *only: str) -> list[dict[str, str]]:
        """Returns what the doctor finds wrong, with what mends it."""
        words = [word for check in only for word in ("--only", check)]
        cli.run(["cluster", "doctor", "--kubeconfig", str(self.kubeconfig), "--json", *words])
        found: list[dict[str, str]] = json.loads(self.capsys.readouterr().out)["findings"]
        assert not any("hidden" in str(each) for each in found)
        return [each for each in found if each["state"] == "failed"]


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Kubernetes]]:
    """Makes a cluster in which a case of the chart runs, and all is well."""
    monkeypatch.setenv("LONGVIDEO_DATA_DIR", str(tmp_path))
    servers = []

    def settle(case: str) -> Kubernetes:
        server = Kubernetes()
        servers.append(server)
        controllers.settle(server, rendered(case))
        for name, keys in _SECRETS.items():
            server.add(controllers.secret(name, **keys))
        for pool, product in _POOLS.items():
            labels = {"nvidia.com/gpu.product": product, "longvideo/pool": pool}
            taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
            gpus = {"nvidia.com/gpu": 8, "nvidia.com/mig-7g.80gb": 8}
            for thing in controllers.node(f"{pool}-1", labels, gpus, taints=[taint]):
                server.add(thing)
        return server

    yield settle
    for server in servers:
        server.close()


@pytest.fixture
def operator(settled: Callable[[str], Kubernetes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator of a release with two pools, in a cluster where all is well."""
    server = settled("qwen3")
    return Operator(server, server.kubeconfig(tmp_path / "kubeconfig"), capsys)


@pytest.fixture
def scaled(settled: Callable[[str], Kubernetes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator of a release whose models KEDA scales."""
    server = settled("qwen2.5-autoscaled")
    return Operator(server, server.kubeconfig(tmp_path / "kubeconfig"), capsys)


def test_status(operator: Operator) -> None:
    """Every model has a line with its pool, replicas, queue and URL, and so has every part."""
    page = 'vllm:num_requests_running{{model_name="m"}} {}\nvllm:num_requests_waiting{{model_name="m"}} {}\n'
    operator.server.metrics = lambda pod: page.format(3, 1) if "reasoner" in pod else page.format(0, 0)
    shown = operator("status")
    lines = {tuple(line.split()[:2]): line for line in shown.splitlines() if line.strip()}
    reasoner = lines["reasoner", "a800"]
    assert "2 of 2" in reasoner
    assert "6 + 2 waiting" in reasoner  # both replicas together
    assert f"http://{REASONER}-predictor.video.svc.cluster.local" in reasoner
    assert "0 + 0 waiting" in lines["vision", "h800"]
    for part in ("api", "worker", "beat", "caption", "qa"):
        assert f"\n{part} " in shown
    assert "demo in video, Kubernetes v1.34.2" in shown


def test_status_for_programs(operator: Operator) -> None:
    """`--json` has the same; what nobody knows is null, with why."""
    found = json.loads(operator("status", "--json"))
    reasoner = next(each for each in found["models"] if each["model"] == "reasoner")
    assert (reasoner["pool"], reasoner["ready"], reasoner["replicas"], reasoner["ready_replicas"]) == (
        "a800",
        True,
        2,
        2,
    )
    assert reasoner["requests_running"] is None
    assert "i/o timeout" in reasoner["queue_unknown"]
    assert {each["part"] for each in found["parts"]} == {"api", "worker", "beat", "caption", "qa"}
    assert found["external_models"] == []


def test_a_model_behind_a_gateway(
    settled: Callable[[str], Kubernetes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An LLMInferenceService is a model like any other: it is shown once, and scaled by its own replicas."""
    server = settled("qwen3-llm")
    server.metrics = lambda pod: "vllm:num_requests_running 2\nvllm:num_requests_waiting 0\n"
    operator = Operator(server, server.kubeconfig(tmp_path / "kubeconfig"), capsys)
    found = json.loads(operator("status", "--json"))
    reasoner = next(each for each in found["models"] if each["model"] == "reasoner")
    assert (reasoner["kind"], reasoner["pool"], reasoner["replicas"]) == ("LLMInferenceService", "h800", 4)
    assert reasoner["requests_running"] == 8
    assert found["external_models"] == []
    assert "4 before, 6 from now on" in operator("scale", "reasoner", "6")
    assert server.get("llminferenceservices", "demo-longvideo-reasoner-h800")["spec"]["replicas"] == 6


def test_status_says_why_a_model_is_not_ready(operator: Operator) -> None:
    """KServe's own words about a model that is not ready stand below the table."""
    _break(operator, VISION, "0/2 nodes are available")
    shown = operator("status")
    assert f"{VISION} is not ready: 0/2 nodes are available" in shown


def test_scaling_a_model(operator: Operator) -> None:
    """The replicas of a model in one pool become what was said, and no other field changes."""
    before = operator.server.get("inferenceservices", REASONER)["spec"]["predictor"]
    said = operator("scale", "reasoner", "3")
    after = operator.server.get("inferenceservices", REASONER)["spec"]["predictor"]
    assert (after["minReplicas"], after["maxReplicas"]) == (3, 3)
    assert {**after, "minReplicas": 2, "maxReplicas": 2} == {**before, "minReplicas": 2, "maxReplicas": 2}
    assert "2 before, 3 from now on" in said
    assert "models.reasoner.pools.a800.replicas=3" in said


def test_scaling_a_part(operator: Operator) -> None:
    """A part of the release gets other replicas by its Deployment's scale."""
    assert "worker.replicas=5" in operator("scale", "worker", "5")
    assert operator.server.get("deployments", "demo-longvideo-worker")["spec"]["replicas"] == 5


def test_scaling_what_is_not_clear(operator: Operator) -> None:
    """A model in two pools, one that is not there, and no replicas are refused with what there is."""
    assert "a800, h800: choose with --pool" in operator("scale", "vision", "2", code=2)
    assert "it has reasoner, spare, vision, api, worker, caption, qa" in operator("scale", "brain", "2", code=2)
    assert "it runs in a800" in operator("scale", "reasoner", "2", "--pool", "h800", code=2)
    assert "give at least 1" in operator("scale", "reasoner", "0", code=2)
    assert "runs in no pool" in operator("scale", "worker", "2", "--pool", "h800", code=2)
    assert "2 from now on" in operator("scale", "vision", "2", "--pool", "h800")


def test_what_keda_scales_is_left_alone(scaled: Operator) -> None:
    """Where KEDA scales, the command says which values to change instead, and changes nothing."""
    said = scaled("scale", "reasoner", "3", "--pool", "h800", code=2)
    assert "KEDA scales reasoner in h800 between 2 and 6" in said
    assert "models.reasoner.pools.h800.minReplicas" in said
    assert not any(request.startswith("PATCH") for request in scaled.server.requests)
    assert "KEDA, 2 to 6" in scaled("status")


def test_waking_models(scaled: Operator) -> None:
    """A model that sleeps gets one replica while it is waited for, and KEDA goes on when it is ready."""
    name = "demo-longvideo-reasoner-h800"
    sleeper = scaled.server.get("deployments", f"{name}-predictor")
    sleeper["spec"]["replicas"], sleeper["status"] = 0, {}

    def wake(server: Kubernetes) -> None:
        annotations = server.get("scaledobjects", name)["metadata"].get("annotations") or {}
        if annotations.get("autoscaling.keda.sh/paused-replicas") == "1":
            sleeper["spec"]["replicas"], sleeper["status"] = 1, {"readyReplicas": 1}

    scaled.server.changed = wake
    said = scaled("warm", "--timeout", "60")
    assert "reasoner in h800: from zero" in said
    assert "Ready     reasoner in h800" in said
    assert (
        "annotations" not in scaled.server.get("scaledobjects", name)["metadata"]
        or not scaled.server.get("scaledobjects", name)["metadata"]["annotations"]
    )


def test_waking_takes_no_longer_than_allowed(operator: Operator) -> None:
    """A model that never is ready ends the waiting, with its name."""
    _break(operator, VISION, "loading")
    assert f"Not ready in time: {VISION}" in operator("warm", "vision", "--timeout", "1", code=2)
    assert "no model brain" in operator("warm", "brain", code=2)


@pytest.mark.parametrize("case", ["qwen3", "qwen2.5-autoscaled", "qwen3-llm", "offline", "external"])
def test_a_healthy_release(
    case: str, settled: Callable[[str], Kubernetes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The doctor finds nothing wrong with a release that has all it needs, and exits with 0."""
    server = settled(case)
    for name in ("longvideo-certificates", "longvideo-public"):
        server.add(controllers.secret(name, **_SECRETS["demo-longvideo-tls"]))
    said = Operator(server, server.kubeconfig(tmp_path / "kubeconfig"), capsys)("doctor")
    assert "things are well" in said


Fault = Callable[[Kubernetes], object]


def _missing_secret(server: Kubernetes) -> None:
    server.delete("secrets", "longvideo-broker")


def _missing_key(server: Kubernetes) -> None:
    server.add(controllers.secret("longvideo-database", uri="postgresql://x"))


def _empty_key(server: Kubernetes) -> None:
    server.add(controllers.secret("longvideo-models", apiKey="\n"))


def _old_kserve(server: Kubernetes) -> None:
    pod = server.get("deployments", "kserve-controller-manager", "kserve")["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = "kserve/kserve-controller:v0.15.1"


def _old_kubernetes(server: Kubernetes) -> None:
    server.version = "v1.29.4+k3s1"


def _no_kserve(server: Kubernetes) -> None:
    server.without("serving.kserve.io")


def _no_labels(server: Kubernetes) -> None:
    server.get("nodes", "a800-1", "")["metadata"]["labels"] = {"nvidia.com/gpu.product": "NVIDIA-A100"}


def _no_gpus(server: Kubernetes) -> None:
    del server.get("nodes", "a800-1", "")["status"]["allocatable"]["nvidia.com/gpu"]


def _cordoned(server: Kubernetes) -> None:
    server.get("nodes", "a800-1", "")["spec"]["unschedulable"] = True


def _tainted(server: Kubernetes) -> None:
    server.get("nodes", "a800-1", "")["spec"]["taints"].append({"key": "team", "value": "x", "effect": "NoSchedule"})


def _clock_ahead(server: Kubernetes) -> None:
    ahead = datetime.fromtimestamp(time.time() + 120, UTC).isoformat()
    server.get("leases", "a800-1", "kube-node-lease")["spec"]["renewTime"] = ahead


def _clock_behind(server: Kubernetes) -> None:
    behind = datetime.fromtimestamp(time.time() - 600, UTC).isoformat()
    server.get("leases", "a800-1", "kube-node-lease")["spec"]["renewTime"] = behind


def _no_image(server: Kubernetes) -> None:
    server.get("deployments", "demo-longvideo-worker")["status"]["readyReplicas"] = 1
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image longvideo:0.1.0"}
    status = server.get("pods", "demo-longvideo-worker-0")["status"]
    status["containerStatuses"] = [{"name": "worker", "state": {"waiting": waiting}}]


def _crashing(server: Kubernetes) -> None:
    server.get("deployments", "demo-longvideo-api")["status"] = {}
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}
    status = server.get("pods", "demo-longvideo-api-0")["status"]
    status["containerStatuses"] = [{"name": "api", "state": {"waiting": waiting}}]


def _not_scheduled(server: Kubernetes) -> None:
    name = f"{REASONER}-predictor"
    server.get("inferenceservices", REASONER)["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "does not have minimum"}
    ]
    said = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/9 nodes are available: 9 Insufficient nvidia.com/gpu",
    }
    server.get("pods", f"{name}-0")["status"]["conditions"] = [said]


def _no_service(server: Kubernetes) -> None:
    server.delete("inferenceservices", REASONER)


def _failed_model(server: Kubernetes) -> None:
    server.get("inferenceservices", REASONER)["status"] = {
        "conditions": [{"type": "Ready", "status": "False", "reason": "RevisionFailed"}],
        "modelStatus": {"lastFailureInfo": {"reason": "ModelLoadFailed", "message": "403 Forbidden: s3://models"}},
    }


@pytest.mark.parametrize(
    ("fault", "check", "said", "fix"),
    [
        (
            _missing_secret,
            "secrets",
            "there is no secret longvideo-broker, which api, beat, worker read",
            "--from-literal=url",
        ),
        (_missing_key, "secrets", "has no key url, which api, worker read; its keys: uri", "--from-literal=url"),
        (_old_kserve, "definitions", "KServe is v0.15.1; 0.20 or later is needed", "k8s/README.md"),
        (_old_kubernetes, "kubernetes", "v1.29.4+k3s1 at", "upgrade the cluster to 1.32"),
        (_no_kserve, "definitions", "does not know inferenceservices.serving.kserve.io/v1beta1", "install KServe 0.20"),
        (_no_labels, "nodes", "has the label nvidia.com/gpu.product=NVIDIA-A800-SXM4-80GB", "pools.a800.nodeSelector"),
        (_no_gpus, "nodes", "a800-1 has no nvidia.com/gpu", "GPU operator"),
        (_cordoned, "nodes", "a800-1 is cordoned", "kubectl uncordon"),
        (_tainted, "nodes", "a800-1 has the taint team=x:NoSchedule", "pools.a800.tolerations"),
        (_clock_ahead, "clocks", "the clock of the node a800-1 is", "NTP"),
        (_clock_behind, "clocks", "the node a800-1 last gave a sign", "NTP"),
        (
            _no_image,
            "parts",
            "worker: 1 of 2 replicas are ready; demo-longvideo-worker-0: ImagePull",
            "imagePullSecrets",
        ),
        (_crashing, "parts", "CrashLoopBackOff", "logs demo-longvideo-api-0 --container api --previous"),
        (_not_scheduled, "models", "has no node: 0/9 nodes are available: 9 Insufficient nvidia.com/gpu", "add nodes"),
        (_no_service, "models", f"name the InferenceService {REASONER}, and there is none", "helm upgrade"),
        (_failed_model, "models", "403 Forbidden: s3://models", "describe"),
    ],
)
def test_the_doctor_names_each_fault(operator: Operator, fault: Fault, check: str, said: str, fix: str) -> None:
    """Each fault is found by its own check, which says what is wrong and what mends it; the exit code is 1."""
    fault(operator.server)
    found = operator.failures()
    named = [each for each in found if each["check"] == check and said in each["said"]]
    assert named, found
    assert all(fix in each["fix"] for each in named), named
    assert operator("doctor", code=1).count("\nfailed ") + 1 >= len(found)


def test_one_fault_is_one_finding(operator: Operator) -> None:
    """Nothing else is found wrong than what is."""
    _missing_key(operator.server)
    assert len(operator.failures()) == 1


def test_checks_can_be_chosen(operator: Operator) -> None:
    """`--only` makes the checks that are named, and no others."""
    _missing_key(operator.server)
    assert operator.failures("nodes", "clocks") == []
    assert len(operator.failures("secrets")) == 1
    assert "There is no check secret; there are" in operator("doctor", "--only", "secret", code=2)


@pytest.mark.parametrize(
    ("verb", "resource", "check"),
    [("list", "nodes", "nodes"), ("get", "secrets", "secrets"), ("list", "leases", "clocks")],
)
def test_what_is_not_permitted_is_named(operator: Operator, verb: str, resource: str, check: str) -> None:
    """A right that is missing is a finding of its own, which says which, and the other checks are made."""
    operator.server.forbidden = {(verb, resource)}
    (found,) = operator.failures()
    assert found["check"] == check
    assert f'cannot {verb} resource "{resource}"' in found["said"]
    assert "docs/cluster.md" in found["fix"]


def test_helm_test_is_given_the_rights_that_the_doctor_uses(operator: Operator) -> None:
    """All that the doctor asks the API for is in the roles of `tests.kubernetes`, and nothing else is."""
    operator("doctor")
    asked = set()
    for request in operator.server.requests:
        method, path = request.split("?")[0].split()
        parts = [part for part in path.split("/") if part]
        group, rest = ("", parts[2:]) if parts[0] == "api" else ("".join(parts[1:2]), parts[3:])
        elsewhere = rest[:2] in (["namespaces", "kserve"], ["namespaces", "keda"], ["namespaces", "cert-manager"])
        if not rest or elsewhere:
            continue  # which everybody may, and what it does without
        rest = rest[2:] if rest[0] == "namespaces" else rest
        asked.add((group, rest[0], "get" if len(rest) > 1 else "list"))
        assert method == "GET"
    allowed = {
        (group, resource, verb)
        for each in rendered("qwen3")
        if each["kind"] in {"Role", "ClusterRole"}
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert asked | {("", "pods", "list")} == allowed  # pods are asked for where something is wrong


def test_before_a_release_there_is_a_cluster(operator: Operator) -> None:
    """Without a release the doctor says so, and what the cluster has already."""
    for each in operator.server.all("deployments"):
        each["metadata"]["labels"].pop("app.kubernetes.io/part-of", None)
    (found,) = operator.failures()
    assert "There is no release of longvideo in the namespace video" in found["said"]
    assert "inferenceservices.serving.kserve.io/v1beta1, KServe v0.20.0" in operator("doctor", code=1)
    assert "There is no release of longvideo in the namespace video" in operator("status", code=2)
    assert "no release other" in operator("status", "--release", "other", code=2).replace(
        "release other of longvideo", "release other"
    )


def test_several_releases(operator: Operator) -> None:
    """With two releases in a namespace one must be chosen."""
    other = operator.server.get("deployments", "demo-longvideo-qa")
    other["metadata"]["labels"]["app.kubernetes.io/instance"] = "trial"
    assert "has the releases demo, trial: choose with --release" in operator("status", code=2)
    assert "demo in video" in operator("status", "--release", "demo")


def test_a_cluster_that_cannot_be_reached(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there, a token that nobody knows and a file that is none give one line each."""
    operator.server.kubeconfig(tmp_path / "old", token="another")
    for name, said in (("old", "does not know who you are"), ("none", "No Kubernetes cluster can be told from")):
        for command in (["status"], ["doctor"], ["scale", "worker", "2"], ["warm"]):
            told = Operator(operator.server, tmp_path / name, operator.capsys)(*command, code=2)
            assert said in told
            assert len(told.splitlines()) == 1
    operator.server.close()
    for command in (["status"], ["doctor"]):
        told = operator(*command, code=2)
        assert "does not answer (" in told
        assert "Connection refused" in told
        assert len(told.splitlines()) == 1


def _break(operator: Operator, name: str, message: str) -> None:
    status: dict[str, Any] = operator.server.get("inferenceservices", name)["status"]
    status["conditions"] = [{"type": "Ready", "status": "False", "message": message}]
