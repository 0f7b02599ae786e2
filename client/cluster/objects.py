"""What the doctor sees through the API of Kubernetes: whether what a release needs is there, and well."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from client import words
from client.cluster.access import Kubernetes, Object
from client.cluster.findings import Check, Finding
from client.cluster.nodes import gpus, node_clocks
from client.cluster.release import APPS, CORE, Release
from longvideo.errors import NotFound, PermissionDenied

_LEAST: Final = (1, 32)
"""The oldest Kubernetes that KServe 0.20 runs on (its installation guide)."""

_SKEW_SECONDS: Final = 10.0
"""How far this machine's clock may be from the cluster's: logs and times in answers are compared by people."""


class _Kind(NamedTuple):
    """A kind of object that others bring. `controller` is its namespace and Deployment, `least` its oldest version."""

    product: str
    group: str
    version: str
    plural: str
    controller: tuple[str, str]
    least: tuple[int, int]


_SERVING = ("kserve", "kserve-controller-manager")
_KINDS: Final = (
    _Kind("KServe", "serving.kserve.io", "v1beta1", "inferenceservices", _SERVING, (0, 20)),
    _Kind("KServe", "serving.kserve.io", "v1alpha1", "servingruntimes", _SERVING, (0, 20)),
    _Kind("KServe", "serving.kserve.io", "v1alpha2", "llminferenceservices", _SERVING, (0, 20)),
    _Kind("KEDA", "keda.sh", "v1alpha1", "scaledobjects", ("keda", "keda-operator"), (2, 20)),
    _Kind("cert-manager", "cert-manager.io", "v1", "certificates", ("cert-manager", "cert-manager"), (1, 15)),
    _Kind("Prometheus Operator", "monitoring.coreos.com", "v1", "podmonitors", ("", ""), (0, 0)),
)

_INSTALL = "k8s/README.md has the commands that install it"
_PULL = "check image.repository, image.tag and imagePullSecrets in the values, and that nodes reach the registry"
_WAITS: Final = {
    "ImagePullBackOff": _PULL,
    "ErrImagePull": _PULL,
    "CreateContainerConfigError": "a secret or a key that it reads is missing: see the findings about secrets",
}


def checks(kubernetes: Kubernetes, release: Release) -> Mapping[str, Check]:
    """Returns all checks of a release, by name."""
    return {
        "kubernetes": lambda: _version(kubernetes),
        "definitions": lambda: _definitions(kubernetes, release),
        "secrets": lambda: _secrets(kubernetes, release),
        "parts": lambda: _parts(kubernetes, release),
        "models": lambda: _models(kubernetes, release),
        "nodes": lambda: gpus(kubernetes, release),
        "clocks": lambda: _clocks(kubernetes),
    }


def _version(kubernetes: Kubernetes) -> Iterator[Finding]:
    found = _numbers(kubernetes.version)
    said = f"Kubernetes {kubernetes.version} at {kubernetes.host}"
    if found < _LEAST:
        least = ".".join(map(str, _LEAST))
        yield Finding(
            "kubernetes", "failed", f"{said} is older than {least}", f"upgrade the cluster to {least} or later"
        )
    else:
        yield Finding("kubernetes", "ok", said)


def _definitions(kubernetes: Kubernetes, release: Release) -> Iterator[Finding]:
    needed = _needed(release)
    for kind in _KINDS:
        name = f"{kind.plural}.{kind.group}/{kind.version}"
        try:
            listed = kubernetes.get(f"/apis/{kind.group}/{kind.version}")["resources"]
        except NotFound:
            listed = []
        if any(each["name"] == kind.plural for each in listed):
            yield _installed(kubernetes, kind, name)
        elif kind.plural in needed:
            known = _versions(kubernetes, kind.group)
            there = f"; the cluster has {kind.group} in {', '.join(known)}" if known else ""
            yield Finding(
                "definitions",
                "failed",
                f"the cluster does not know {name}, which this release needs{there}",
                f"install {kind.product} {'.'.join(map(str, kind.least))} or later: {_INSTALL}",
            )
        else:
            yield Finding("definitions", "skipped", f"{name} is not there; this release does without")


def _needed(release: Release) -> set[str]:
    found = set()
    if release.expected or any(not model.is_llm for model in release.models):
        found |= {"inferenceservices", "servingruntimes"}
    if any(model.is_llm for model in release.models):
        found.add("llminferenceservices")
    annotations = [model.object["metadata"].get("annotations") or {} for model in release.models]
    if any(each.get("serving.kserve.io/autoscalerClass") == "external" for each in annotations):
        found.add("scaledobjects")
    return found


def _versions(kubernetes: Kubernetes, group: str) -> list[str]:
    try:
        return [each["version"] for each in kubernetes.get(f"/apis/{group}")["versions"]]
    except NotFound:
        return []


def _installed(kubernetes: Kubernetes, kind: _Kind, name: str) -> Finding:
    """Returns whether what brings a kind is new enough, as far as that can be seen."""
    namespace, deployment = kind.controller
    if not deployment:
        return Finding("definitions", "ok", name)
    try:
        found = kubernetes.get(f"{APPS}/namespaces/{namespace}/deployments/{deployment}")
    except (NotFound, PermissionDenied):
        return Finding("definitions", "ok", f"{name}; the version of {kind.product} cannot be seen")
    image = str(found["spec"]["template"]["spec"]["containers"][0]["image"])
    version = image.partition("@")[0].rpartition(":")[2]
    if _numbers(version) and _numbers(version) < kind.least:
        least = ".".join(map(str, kind.least))
        said = f"{kind.product} is {version}; {least} or later is needed"
        return Finding("definitions", "failed", said, f"upgrade {kind.product}: {_INSTALL}")
    return Finding("definitions", "ok", f"{name}, {kind.product} {version}")


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else ()


def _secrets(kubernetes: Kubernetes, release: Release) -> Iterator[Finding]:
    for name, readers in sorted(_read(release).items()):
        who = ", ".join(sorted({part for parts in readers.values() for part in parts}))
        try:
            data = kubernetes.get(f"{CORE}/namespaces/{kubernetes.namespace}/secrets/{name}").get("data") or {}
        except NotFound:
            yield Finding(
                "secrets", "failed", f"there is no secret {name}, which {who} read", _make(kubernetes, name, readers)
            )
            continue
        missing = sorted(key for key in readers if key not in data)
        empty = sorted(key for key in readers if key in data and not base64.b64decode(data[key]).strip())
        for key in missing:
            has = ", ".join(sorted(data)) or "none"
            said = f"the secret {name} has no key {key}, which {', '.join(sorted(readers[key]))} read; its keys: {has}"
            yield Finding("secrets", "failed", said, _make(kubernetes, name, readers))
        for key in empty:
            said = f"the key {key} of the secret {name} is empty"
            yield Finding("secrets", "failed", said, _make(kubernetes, name, readers))
        if not missing and not empty:
            yield Finding("secrets", "ok", f"{name} has {', '.join(sorted(readers)) or 'what is read'}")


def _read(release: Release) -> dict[str, dict[str, set[str]]]:
    """Returns the secrets that pods read: of each the keys, and of these the parts that read them."""
    found: dict[str, dict[str, set[str]]] = {}

    def read(secret: str, key: str, part: str) -> None:
        found.setdefault(secret, {}).setdefault(key, set()).add(part)

    for part in [*release.parts, *(model.part for model in release.models if model.part)]:
        spec = part.pod["spec"]
        for volume in spec.get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                for item in source.get("secret", {}).get("items", []):
                    read(source["secret"]["name"], item["key"], part.name)
            if "secret" in volume:
                items = volume["secret"].get("items", [{"key": "tls.crt"}, {"key": "tls.key"}])
                for item in items:
                    read(volume["secret"]["secretName"], item["key"], part.name)
        for container in spec["containers"]:
            for variable in container.get("env", []):
                if reference := (variable.get("valueFrom") or {}).get("secretKeyRef"):
                    read(reference["name"], reference["key"], part.name)
    return found


def _make(kubernetes: Kubernetes, name: str, readers: Mapping[str, object]) -> str:
    if "tls.crt" in readers:
        return (
            f"with tls.issuer cert-manager makes it: kubectl -n {kubernetes.namespace} describe certificate says why "
            "it has not; otherwise make it from your certificate, with tls.crt, tls.key and ca.crt"
        )
    keys = " ".join(f"--from-literal={key}=…" for key in sorted(readers))
    return f"kubectl -n {kubernetes.namespace} create secret generic {name} {keys}"


def _parts(kubernetes: Kubernetes, release: Release) -> Iterator[Finding]:
    for part in release.parts:
        said = f"{part.name}: {part.ready} of {part.wanted} replicas are ready"
        if part.ready >= part.wanted:
            yield Finding("parts", "ok", said)
            continue
        trouble, fix = _trouble(kubernetes, part.selector)
        yield Finding("parts", "failed", f"{said}{trouble and f'; {trouble}'}", fix)


def _trouble(kubernetes: Kubernetes, selector: str) -> tuple[str, str]:
    """Returns what keeps pods from being ready, and what mends it."""
    for pod in kubernetes.items(CORE, "pods", selector=selector):
        name, status = pod["metadata"]["name"], pod.get("status", {})
        look = f"kubectl -n {kubernetes.namespace} describe pod {name}"
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            waiting = container.get("state", {}).get("waiting")
            if waiting and waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
                reason = waiting["reason"]
                logs = f"kubectl -n {kubernetes.namespace} logs {name} --container {container['name']} --previous"
                fix = _WAITS.get(reason, logs if reason == "CrashLoopBackOff" else look)
                return words.one_line(f"{name}: {reason}: {waiting.get('message', '')}", 300).rstrip(": "), fix
        for condition in status.get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                said = words.one_line(f"{name} has no node: {condition.get('message', '')}", 300)
                return said, "see the findings about nodes; or lower what it asks for (resources), or add nodes"
    return "", f"kubectl -n {kubernetes.namespace} describe pods --selector {selector}"


def _models(kubernetes: Kubernetes, release: Release) -> Iterator[Finding]:
    for model in release.models:
        if not model.trouble:
            yield Finding("models", "ok", f"{model.key} in {model.pool} is ready at {model.url or 'no URL'}")
            continue
        if model.scaler and model.part and model.part.wanted == 0:
            said = f"{model.key} in {model.pool} sleeps: KEDA has scaled it to zero"
            yield Finding("models", "skipped", said, "longvideo cluster warm wakes it")
            continue
        trouble, fix = (
            _trouble(kubernetes, model.part.selector) if model.part else ("", _describe(kubernetes, model.object))
        )
        said = f"{model.key} in {model.pool} is not ready: {model.trouble}"
        yield Finding("models", "failed", f"{said}{trouble and f'; {trouble}'}", fix)
    for name in sorted(release.expected - {model.name for model in release.models}):
        yield Finding(
            "models",
            "failed",
            f"the settings name the InferenceService {name}, and there is none",
            "upgrade the release: helm upgrade makes it again; if it is refused, the message says why",
        )


def _describe(kubernetes: Kubernetes, thing: Object) -> str:
    return f"kubectl -n {kubernetes.namespace} describe {thing['kind'].lower()} {thing['metadata']['name']}"


def _clocks(kubernetes: Kubernetes) -> Iterator[Finding]:
    ahead = kubernetes.ahead
    said = f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the cluster's"
    if abs(ahead) > _SKEW_SECONDS:
        yield Finding("clocks", "failed", said, "let NTP set this machine's clock")
    else:
        yield Finding("clocks", "ok", "this machine and the cluster have the same time")
    yield from node_clocks(kubernetes)
