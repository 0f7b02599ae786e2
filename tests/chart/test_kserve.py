"""That KServe's own SDK understands the objects that the chart makes for it."""

from __future__ import annotations

import re
from typing import Any

import kserve.models
import kubernetes.client
import pytest

from tests.chart.rendering import CASES, Object, of_kind

SERVED = [case for case in CASES if of_kind(case, "InferenceService", "ServingRuntime", "LLMInferenceService")]
MODELS = {
    ("serving.kserve.io/v1beta1", "InferenceService"): "V1beta1InferenceService",
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): "V1alpha1ServingRuntime",
    ("serving.kserve.io/v1alpha2", "LLMInferenceService"): "V1alpha2LLMInferenceService",
    ("serving.kserve.io/v1alpha1", "LocalModelCache"): "V1alpha1LocalModelCache",
    ("serving.kserve.io/v1alpha1", "LocalModelNodeGroup"): "V1alpha1LocalModelNodeGroup",
}
# What the SDK calls by another name than Kubernetes' client does.
ALIASES = {"K8sIoApiAppsV1DeploymentStrategy": "V1DeploymentStrategy"}


@pytest.mark.parametrize("case", SERVED)
def test_the_sdk_understands_every_object(case: str) -> None:
    """Each object of KServe's becomes one of the SDK's models, and comes out of it with every field as it was."""
    for each in of_kind(case, *{kind for _, kind in MODELS}):
        model = _made(MODELS[each["apiVersion"], each["kind"]], each, each["kind"])
        written = kubernetes.client.ApiClient().sanitize_for_serialization(model)
        assert _lost(each, written, each["kind"]) == []


def test_a_field_that_the_sdk_does_not_know_is_noticed() -> None:
    """A misspelt field of a predictor is told with its place."""
    (first, *_) = of_kind(SERVED[-1], "InferenceService")
    wrong = {**first, "spec": {"predictor": {**first["spec"]["predictor"], "minReplica": 1}}}

    with pytest.raises(AssertionError, match=r"InferenceService\.spec\.predictor\.minReplica"):
        _made("V1beta1InferenceService", wrong, "InferenceService")


def _made(kind: str, value: Any, place: str) -> Any:
    """Returns a value as the SDK's model of this kind. Fails where the model has no such field."""
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        return [_made(found[1], each, f"{place}[{number}]") for number, each in enumerate(value)]
    if found := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {key: _made(found[1], each, f"{place}.{key}") for key, each in value.items()}
    name = ALIASES.get(kind, kind)
    model = getattr(kserve.models, name, None) or getattr(kubernetes.client, name, None)
    if model is None or not hasattr(model, "openapi_types"):
        return value
    return model(**_fields(model, value, place))


def _lost(value: Any, written: Any, place: str) -> list[str]:
    """Returns the places where what the SDK would write is not what was given; it may add defaults of its own."""
    if isinstance(value, dict) and isinstance(written, dict):
        return [lost for name, each in value.items() for lost in _lost(each, written.get(name), f"{place}.{name}")]
    return [] if value == written else [place]


def _fields(model: Any, value: Object, place: str) -> dict[str, Any]:
    names = {there: here for here, there in model.attribute_map.items()}
    unknown = [f"{place}.{name}" for name in value if name not in names]
    assert unknown == [], f"{model.__name__} has no such field: {unknown}"
    return {
        names[name]: _made(model.openapi_types[names[name]], each, f"{place}.{name}") for name, each in value.items()
    }
