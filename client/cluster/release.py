"""A release as the cluster has it: its parts, and the models that KServe serves for it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from client import words
from client.cluster.access import Kubernetes, Object
from longvideo.errors import FailedPrecondition, NotFound

APPS: Final = "/apis/apps/v1"
CORE: Final = "/api/v1"
KEDA: Final = "/apis/keda.sh/v1alpha1"
KSERVE: Final = "/apis/serving.kserve.io"

INSTANCE: Final = "app.kubernetes.io/instance"
COMPONENT: Final = "app.kubernetes.io/component"
_PART_OF: Final = "app.kubernetes.io/part-of=longvideo"
_LLM_VERSION: Final = "v1alpha2"


@dataclass(frozen=True)
class Scaler:
    """What KEDA does with the number of replicas."""

    name: str
    least: int
    most: int

    def __str__(self) -> str:
        """`KEDA, 1 to 4`."""
        return f"KEDA, {self.least} to {self.most}"


@dataclass(frozen=True)
class Part:
    """A Deployment of the release: `worker`, or what carries one model in one pool."""

    name: str
    deployment: Object
    scaler: Scaler | None = None

    @property
    def wanted(self) -> int:
        """How many replicas there should be."""
        return int(self.deployment["spec"].get("replicas", 1))

    @property
    def ready(self) -> int:
        """How many are ready."""
        return int(self.deployment.get("status", {}).get("readyReplicas") or 0)

    @property
    def pod(self) -> Object:
        """What its pods are made from."""
        found: Object = self.deployment["spec"]["template"]
        return found

    @property
    def selector(self) -> str:
        """What its pods are found by."""
        labels: dict[str, str] = self.deployment["spec"]["selector"]["matchLabels"]
        return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


@dataclass(frozen=True)
class Model:
    """A model in a pool: an InferenceService, or an LLMInferenceService. `part` is its Deployment, if there is one."""

    object: Object
    part: Part | None
    scaler: Scaler | None

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])

    @property
    def is_llm(self) -> bool:
        """Whether it is an LLMInferenceService."""
        return bool(self.object["kind"] == "LLMInferenceService")

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its pods."""
        spec = self.object["spec"]
        found: dict[str, str] = (spec if self.is_llm else spec["predictor"]).get("labels") or {}
        return found

    @property
    def key(self) -> str:
        """What the values call it."""
        return self.labels.get("longvideo/model", self.name)

    @property
    def pool(self) -> str:
        """The pool that it runs in."""
        return self.labels.get("longvideo/pool", "")

    @property
    def pod(self) -> Object:
        """What it says about its pods: node selector, tolerations."""
        spec = self.object["spec"]
        found: Object = spec.get("template", {}) if self.is_llm else spec["predictor"]
        return found

    @property
    def resources(self) -> dict[str, str]:
        """What one replica asks for: `{"nvidia.com/gpu": "2", …}`."""
        asked: Any
        if self.is_llm:
            asked = next((each.get("resources", {}) for each in self.pod.get("containers", [])), {})
        else:
            asked = self.pod["model"].get("resources", {})
        found: dict[str, str] = asked.get("limits") or {}
        return found

    @property
    def status(self) -> Object:
        """What KServe says about it."""
        found: Object = self.object.get("status") or {}
        return found

    @property
    def url(self) -> str:
        """Where it is, as KServe says; empty while it does not."""
        return str(self.status.get("address", {}).get("url") or self.status.get("url") or "")

    @property
    def trouble(self) -> str:
        """Why it is not ready, in KServe's words; empty when it is."""
        conditions = self.status.get("conditions") or []
        ready: Object = next((each for each in conditions if each["type"] == "Ready"), {})
        if ready.get("status") == "True":
            return ""
        failure = (self.status.get("modelStatus") or {}).get("lastFailureInfo") or {}
        said = [failure.get("message"), ready.get("message"), ready.get("reason")]
        said += [each.get("message") for each in conditions if each.get("status") == "False"]
        return words.one_line(next((text for text in said if text), "KServe has not said anything about it yet"), 300)


@dataclass(frozen=True)
class Release:
    """A release. `parts` are its own Deployments, `models` what KServe serves for it."""

    name: str
    namespace: str
    parts: Sequence[Part]
    models: Sequence[Model]
    settings: dict[str, Any]
    """What the settings file of its processes holds."""

    def part(self, component: str) -> Part | None:
        """Returns the Deployment of a component."""
        return next((part for part in self.parts if part.name == component), None)

    @property
    def expected(self) -> set[str]:
        """The names of the InferenceServices that the settings expect, by the URLs of their endpoints."""
        hosts = [str(each["url"]).split("//")[1].split("/")[0] for each in self.settings.get("endpoints", [])]
        services = [host.split(".")[0] for host in hosts if f".{self.namespace}.svc" in host]
        return {name.removesuffix("-predictor") for name in services if name.endswith("-predictor")}


def find(kubernetes: Kubernetes, wanted: str = "") -> Release:
    """Returns the release of this name, or the only one in the namespace. Raises NotFound and FailedPrecondition."""
    selector = f"{_PART_OF},{INSTANCE}={wanted}" if wanted else _PART_OF
    deployments = [
        each
        for each in kubernetes.items(APPS, "deployments", selector=selector)
        if each["metadata"]["labels"].get(COMPONENT) != "model"
    ]
    names = sorted({each["metadata"]["labels"][INSTANCE] for each in deployments})
    if not names:
        which = f"release {wanted} of longvideo" if wanted else "release of longvideo"
        raise NotFound(
            f"There is no {which} in the namespace {kubernetes.namespace} of {kubernetes.host}: give another with -n, "
            "or install one (charts/longvideo/README.md).",
            reason="NO_RELEASE",
        )
    if len(names) > 1:
        raise FailedPrecondition(
            f"The namespace {kubernetes.namespace} has the releases {', '.join(names)}: choose with --release.",
            reason="SEVERAL_RELEASES",
        )
    scalers = _scalers(kubernetes)
    parts = [
        Part(each["metadata"]["labels"][COMPONENT], each, scalers.get(each["metadata"]["name"]))
        for each in sorted(deployments, key=lambda each: str(each["metadata"]["name"]))
    ]
    models = _models(kubernetes, names[0], scalers)
    return Release(names[0], kubernetes.namespace, parts, models, _settings(kubernetes, parts))


def _models(kubernetes: Kubernetes, release: str, scalers: dict[str, Scaler]) -> list[Model]:
    deployments = {each["metadata"]["name"]: each for each in kubernetes.items(APPS, "deployments")}
    models = []
    for each in _served(kubernetes):
        if each["metadata"].get("labels", {}).get(INSTANCE) == release:
            name = each["metadata"]["name"]
            carrier = f"{name}-kserve" if each["kind"] == "LLMInferenceService" else f"{name}-predictor"
            part = Part(name, deployments[carrier], scalers.get(carrier)) if carrier in deployments else None
            models.append(Model(each, part, scalers.get(carrier)))
    return sorted(models, key=lambda model: (model.key, model.pool))


def _served(kubernetes: Kubernetes) -> list[Object]:
    """Returns what KServe serves in the namespace: nothing where it is not installed."""
    found: list[Object] = []
    try:
        with kubernetes.explained("InferenceServices"):
            listed = kubernetes.kserve.get(namespace=kubernetes.namespace)
        found += [{"kind": "InferenceService", **each} for each in listed["items"]]
        llms = kubernetes.items(f"{KSERVE}/{_LLM_VERSION}", "llminferenceservices")
        found += [{"kind": "LLMInferenceService", **each} for each in llms]
    except NotFound:
        pass
    return found


def _scalers(kubernetes: Kubernetes) -> dict[str, Scaler]:
    """Returns KEDA's ScaledObjects by the Deployments that they scale."""
    try:
        found = kubernetes.items(KEDA, "scaledobjects")
    except NotFound:
        return {}
    return {
        each["spec"]["scaleTargetRef"]["name"]: Scaler(
            each["metadata"]["name"],
            int(each["spec"].get("minReplicaCount", 0)),
            int(each["spec"].get("maxReplicaCount", 100)),
        )
        for each in found
    }


def _settings(kubernetes: Kubernetes, parts: Sequence[Part]) -> dict[str, Any]:
    """Returns what the settings file of the parts holds."""
    for part in parts:
        for volume in part.pod["spec"].get("volumes", []):
            if volume["name"] == "settings" and "configMap" in volume:
                path = f"{CORE}/namespaces/{kubernetes.namespace}/configmaps/{volume['configMap']['name']}"
                return tomllib.loads(kubernetes.get(path)["data"]["settings.toml"])
    return {}
