"""What Kubernetes and KServe make of a release's objects, once and as if all went well, for the API of `kubernetes`."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from tests.parts.kubernetes import Kubernetes, Object

READY = {"type": "Ready", "status": "True"}


def settle(server: Kubernetes, objects: Iterable[Object]) -> None:
    """Adds the objects of a release, and what a cluster makes of them: replicas, pods, and what KServe serves."""
    for each in objects:
        server.add(each)
    for each in server.all("deployments"):
        run(server, each)
    for each in (*server.all("inferenceservices"), *server.all("llminferenceservices")):
        serve(server, each)
    for namespace, name, image in (
        ("kserve", "kserve-controller-manager", "kserve/kserve-controller:v0.20.0"),
        ("keda", "keda-operator", "ghcr.io/kedacore/keda:2.20.2"),
    ):
        server.add(deployment(name, namespace, {"app": name}, {"containers": [{"name": "manager", "image": image}]}))


def run(server: Kubernetes, thing: Object) -> None:
    """Makes a Deployment's pods, all of them ready."""
    count = int(thing["spec"].get("replicas", 1))
    thing["status"] = {"replicas": count, "readyReplicas": count}
    metadata = thing["metadata"]
    template = thing["spec"]["template"]
    for number in range(count):
        server.add(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{metadata['name']}-{number}",
                    "namespace": metadata["namespace"],
                    "labels": dict(template["metadata"]["labels"]),
                },
                "spec": template["spec"],
                "status": {"phase": "Running", "conditions": [dict(READY)]},
            }
        )


def serve(server: Kubernetes, thing: Object) -> None:
    """Makes what KServe makes of what it serves: a Deployment, its pods, and a status."""
    name, namespace = thing["metadata"]["name"], thing["metadata"]["namespace"]
    if thing["kind"] == "InferenceService":
        suffix, host = "predictor", f"http://{name}-predictor.{namespace}.svc.cluster.local"
        said, count = thing["spec"]["predictor"], thing["spec"]["predictor"].get("minReplicas", 1)
    else:
        suffix, host = "kserve", f"http://kserve-ingress-gateway.kserve.svc.cluster.local/{namespace}/{name}"
        said, count = thing["spec"], thing["spec"].get("replicas", 1)
    made = deployment(
        f"{name}-{suffix}", namespace, {"served": name, **said["labels"]}, {"containers": [{"name": "main"}]}
    )
    made["metadata"]["labels"] = dict(thing["metadata"]["labels"])
    made["spec"]["replicas"] = count
    run(server, server.add(made))
    thing["status"] = {"address": {"url": host}, "conditions": [dict(READY)]}


def deployment(name: str, namespace: str, labels: Mapping[str, str], pod: Object) -> Object:
    """Returns a Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(labels)},
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


def node(name: str, labels: Mapping[str, str], gpus: Mapping[str, int], **spec: Any) -> tuple[Object, Object]:
    """Returns a node that is ready, and the lease that it has just renewed."""
    made = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": spec,
        "status": {
            "conditions": [dict(READY)],
            "allocatable": {
                "cpu": "64",
                "memory": "512Gi",
                **{resource: str(count) for resource, count in gpus.items()},
            },
        },
    }
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "renewTime": now},
    }
    return made, lease


def secret(name: str, **keys: str) -> Object:
    """Returns a secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "video"},
        "type": "Opaque",
        "data": data,
    }
