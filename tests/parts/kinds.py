"""The kinds of objects that a cluster knows, and how its API says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Object = dict[str, Any]


class Kind(NamedTuple):
    """A kind of object: `apps/v1`, or `v1` for the core group."""

    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def called(self) -> str:
        """What messages call it: `deployments.apps`."""
        group = self.version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural


KINDS = (
    Kind("v1", "pods", "Pod"),
    Kind("v1", "secrets", "Secret"),
    Kind("v1", "configmaps", "ConfigMap"),
    Kind("v1", "services", "Service"),
    Kind("v1", "serviceaccounts", "ServiceAccount"),
    Kind("v1", "nodes", "Node", namespaced=False),
    Kind("v1", "namespaces", "Namespace", namespaced=False),
    Kind("apps/v1", "deployments", "Deployment"),
    Kind("batch/v1", "jobs", "Job"),
    Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    Kind("rbac.authorization.k8s.io/v1", "roles", "Role"),
    Kind("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    Kind("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", namespaced=False),
    Kind("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Kind("coordination.k8s.io/v1", "leases", "Lease"),
    Kind("serving.kserve.io/v1beta1", "inferenceservices", "InferenceService"),
    Kind("serving.kserve.io/v1alpha1", "servingruntimes", "ServingRuntime"),
    Kind("serving.kserve.io/v1alpha2", "llminferenceservices", "LLMInferenceService"),
    Kind("keda.sh/v1alpha1", "scaledobjects", "ScaledObject"),
    Kind("serving.kserve.io/v1alpha1", "localmodelcaches", "LocalModelCache", namespaced=False),
    Kind("serving.kserve.io/v1alpha1", "localmodelnodegroups", "LocalModelNodeGroup", namespaced=False),
    Kind("keda.sh/v1alpha1", "triggerauthentications", "TriggerAuthentication"),
    Kind("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", namespaced=False),
    Kind("networking.k8s.io/v1", "ingresses", "Ingress"),
    Kind("gateway.networking.k8s.io/v1", "grpcroutes", "GRPCRoute"),
    Kind("gateway.networking.k8s.io/v1", "tlsroutes", "TLSRoute"),
    Kind("gateway.networking.k8s.io/v1", "backendtlspolicies", "BackendTLSPolicy"),
    Kind("cert-manager.io/v1", "certificates", "Certificate"),
    Kind("monitoring.coreos.com/v1", "podmonitors", "PodMonitor"),
    Kind("monitoring.coreos.com/v1", "prometheusrules", "PrometheusRule"),
)


def discovery(kinds: Sequence[Kind], release: str, path: str) -> Object | None:
    """Returns what the server says about itself, where a path asks for that."""
    groups: dict[str, list[str]] = {}
    for kind in kinds:
        group, _, version = kind.version.rpartition("/")
        if version not in groups.setdefault(group, []):
            groups[group].append(version)
    parts = path.strip("/").split("/")
    major, minor = release.removeprefix("v").split(".")[:2]
    known: dict[str, Object] = {
        "/version": {"major": major, "minor": minor, "gitVersion": release, "platform": "linux/amd64"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g, v) for g, v in groups.items() if g]},
    }
    if path in known:
        return known[path]
    if path.startswith("/openapi/v3"):
        return _openapi(kinds, path.removeprefix("/openapi/v3").strip("/"))
    if parts[0] == "apis" and len(parts) == 2 and parts[1] in groups:
        return _group(parts[1], groups[parts[1]])
    if (parts[0] == "apis" and len(parts) == 3) or path == "/api/v1":
        version = "v1" if path == "/api/v1" else "/".join(parts[1:])
        found = [_resource(each) for each in kinds if each.version == version]
        return {"kind": "APIResourceList", "groupVersion": version, "resources": found} if found else None
    return None


def _openapi(kinds: Sequence[Kind], version: str) -> Object:
    """Returns what there is, and of one version that the server itself looks at the fields of what it is sent."""
    places = {each.version: f"apis/{each.version}" if "/" in each.version else "api/v1" for each in kinds}
    if not version:
        return {"paths": {place: {"serverRelativeURL": f"/openapi/v3/{place}"} for place in places.values()}}
    paths = {}
    for kind in kinds:
        if places[kind.version] == version:
            group, _, number = kind.version.rpartition("/")
            told = {"group": group, "version": number, "kind": kind.kind}
            patch = {
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "x-kubernetes-group-version-kind": told,
            }
            paths[f"/{version}/{kind.plural}/{{name}}"] = {"patch": {**patch, "responses": {}}}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths}


def _group(name: str, versions: list[str]) -> Object:
    told = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": told, "preferredVersion": told[0]}


def _resource(kind: Kind) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    singular = kind.kind.lower()
    return {
        "name": kind.plural,
        "singularName": singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": verbs,
    }
