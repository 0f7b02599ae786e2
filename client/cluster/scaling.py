"""`longvideo cluster scale`: another number of replicas, where nothing else says how many there are."""

from __future__ import annotations

from client.cluster.access import Kubernetes
from client.cluster.release import APPS, Model, Part, Release, Scaler
from longvideo.errors import FailedPrecondition, InvalidArgument, NotFound

PARTS = ("api", "worker", "caption", "qa")
"""The parts of a release that may have any number of replicas."""


def scale(kubernetes: Kubernetes, release: Release, what: str, pool: str, replicas: int) -> str:
    """Sets how many replicas a model in a pool, or a part, has, and returns what was done.

    Raises NotFound for what is not there, InvalidArgument where it must be said which pool, and FailedPrecondition
    where KEDA would undo it.
    """
    if what in PARTS and (part := release.part(what)) is not None:
        if pool:
            raise InvalidArgument(f"{what} runs in no pool: leave out --pool.", field="pool")
        return _scale_part(kubernetes, part, replicas)
    return _scale_model(kubernetes, _chosen(release, what, pool), replicas)


def _chosen(release: Release, what: str, pool: str) -> Model:
    named = [model for model in release.models if what in {model.key, model.name}]
    found = [model for model in named if pool in {"", model.pool}]
    if len(found) == 1:
        return found[0]
    if found:
        pools = ", ".join(model.pool for model in found)
        raise InvalidArgument(f"{what} runs in the pools {pools}: choose with --pool.", field="pool")
    if named:
        pools = ", ".join(model.pool for model in named)
        raise NotFound(f"{what} does not run in the pool {pool}; it runs in {pools}.")
    known = sorted({model.key for model in release.models}) + [part for part in PARTS if release.part(part)]
    raise NotFound(f"The release {release.name} has nothing called {what} to scale; it has {', '.join(known)}.")


def _scale_part(kubernetes: Kubernetes, part: Part, replicas: int) -> str:
    _refuse_scaled(part.scaler, part.name, f"{part.name}.autoscaling")
    name = part.deployment["metadata"]["name"]
    path = f"{APPS}/namespaces/{kubernetes.namespace}/deployments/{name}/scale"
    kubernetes.patch(path, {"spec": {"replicas": replicas}})
    return _done(part.name, part.wanted, replicas, f"{part.name}.replicas")


def _scale_model(kubernetes: Kubernetes, model: Model, replicas: int) -> str:
    value = f"models.{model.key}.pools.{model.pool}"
    _refuse_scaled(model.scaler, f"{model.key} in {model.pool}", value)
    if replicas < 1:
        raise InvalidArgument(
            f"{replicas} replicas of {model.key}: give at least 1. To give its GPUs back, take the pool out of "
            f"models.{model.key}.pools and upgrade the release.",
            field="replicas",
        )
    before = model.part.wanted if model.part else 0
    if model.is_llm:
        path = f"/apis/serving.kserve.io/v1alpha2/namespaces/{kubernetes.namespace}/llminferenceservices/{model.name}"
        kubernetes.patch(path, {"spec": {"replicas": replicas}})
    else:
        _patch_service(kubernetes, model, replicas)
    return _done(f"{model.key} in {model.pool}", before, replicas, f"{value}.replicas")


def _patch_service(kubernetes: Kubernetes, model: Model, replicas: int) -> None:
    import kserve  # noqa: PLC0415  # the extra
    from kubernetes import client  # noqa: PLC0415

    change = kserve.V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(name=model.name, namespace=kubernetes.namespace),
        spec=kserve.V1beta1InferenceServiceSpec(
            predictor=kserve.V1beta1PredictorSpec(min_replicas=replicas, max_replicas=replicas)
        ),
    )
    with kubernetes.explained(model.name):
        kubernetes.kserve.patch(model.name, change, namespace=kubernetes.namespace)


def _refuse_scaled(scaler: Scaler | None, what: str, value: str) -> None:
    if scaler is not None:
        raise FailedPrecondition(
            f"KEDA scales {what} between {scaler.least} and {scaler.most} (ScaledObject {scaler.name}), and would undo "
            f"this. Change the bounds, {value}.minReplicas and {value}.maxReplicas, and upgrade the release; or set "
            "autoscaling.enabled=false for fixed numbers.",
            reason="SCALED_BY_KEDA",
        )


def _done(what: str, before: int, after: int, value: str) -> str:
    return (
        f"{what}: {before} before, {after} from now on. Put {value}={after} into your values too: otherwise the next "
        "upgrade of the release sets it back, or, with Helm 4, is refused for a conflict."
    )
