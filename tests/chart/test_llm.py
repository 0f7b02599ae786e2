"""The reasoner as an LLMInferenceService: what is laid over KServe's presets, and how it is reached."""

from __future__ import annotations

import copy
import re
from typing import Any

import helm_python as helm
import pytest

from tests.chart.rendering import Object, component, named, of_kind, settings_of, texts, values_of

CASE = "qwen3-llm"
NAME = "demo-longvideo-reasoner-h800"


def _pod() -> Object:
    found: Object = named(CASE, "LLMInferenceService", NAME)["spec"]["template"]
    return found


def test_only_the_reasoner_is_one() -> None:
    """Models that see pictures stay InferenceServices, and nothing is rendered twice."""
    assert [each["metadata"]["name"] for each in of_kind(CASE, "LLMInferenceService")] == [NAME]
    assert [each["metadata"]["name"] for each in of_kind(CASE, "InferenceService")] == ["demo-longvideo-vision-h800"]
    assert named(CASE, "LLMInferenceService", NAME)["spec"]["replicas"] == 4


def test_it_runs_as_the_inference_service_does() -> None:
    """Both renderings run the same image with the same arguments, but for the port, which KServe's presets count on."""
    values = copy.deepcopy(values_of(CASE))
    values["llmInferenceService"] = {"enabled": False}
    text = "".join(texts(values).values())
    (container,) = _pod()["containers"]
    assert (container["name"], container["ports"][0]["containerPort"]) == ("main", 8000)
    assert f'image: "{container["image"]}"' in text
    for arg in container["args"]:
        other = arg.replace("--port=8000", "--port=8080")
        assert f"- {other}\n" in text


def test_probes_and_presets_speak_of_one_port() -> None:
    """Every probe asks vLLM's port over plain HTTP: KServe runs with enableLLMInferenceServiceTLS=false."""
    (container,) = _pod()["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[kind]["httpGet"] == {"path": "/health", "port": 8000, "scheme": "HTTP"}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in _pod()["volumes"]}


def test_calls_go_through_the_gateway() -> None:
    """The endpoint is the gateway's, under the namespace and the name: only there the scheduler has a say."""
    urls = [each["url"] for each in settings_of(CASE)["endpoints"] if "reason" in each["roles"]]
    assert urls == [f"http://kserve-ingress-gateway.kserve.svc.cluster.local/video/{NAME}/v1"]
    router = named(CASE, "LLMInferenceService", NAME)["spec"]["router"]
    assert router["gateway"]["refs"] == [{"name": "kserve-ingress-gateway", "namespace": "kserve"}]
    assert router["scheduler"] == router["route"] == {}
    worker = named(CASE, "NetworkPolicy", "demo-longvideo-worker")["spec"]["egress"]
    assert {
        "to": values_of(CASE)["llmInferenceService"]["peers"],
        "ports": [{"port": 10080, "protocol": "TCP"}],
    } in worker


def test_pods_are_found_by_the_labels_that_kserve_gives() -> None:
    """Monitor, budget, spread and policies select KServe's labels, none of which the chart gives itself."""
    labels = {"app.kubernetes.io/name": NAME, "kserve.io/component": "workload"}
    assert named(CASE, "PodMonitor", NAME)["spec"]["selector"]["matchLabels"] == labels
    assert named(CASE, "PodDisruptionBudget", NAME)["spec"]["selector"]["matchLabels"] == labels
    (spread,) = _pod()["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    given = named(CASE, "LLMInferenceService", NAME)["spec"]["labels"]
    assert not given.keys() & {"app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/part-of"}


def test_only_the_gateway_and_the_scheduler_reach_it() -> None:
    """No process of ours goes around the gateway, and only the gateway asks the scheduler."""
    peers = values_of(CASE)["llmInferenceService"]["peers"]
    model, scheduler = (named(CASE, "NetworkPolicy", name)["spec"] for name in (NAME, f"{NAME}-scheduler"))
    gateway, own, _ = model["ingress"]
    assert (gateway["from"], gateway["ports"][0]["port"]) == (peers, 8000)
    assert own["from"][0]["podSelector"]["matchLabels"] == scheduler["podSelector"]["matchLabels"]
    assert (scheduler["ingress"][0]["from"], scheduler["ingress"][0]["ports"][0]["port"]) == (peers, 9002)
    assert component(named(CASE, "NetworkPolicy", f"{NAME}-scheduler")) == "scheduler"


def test_keda_scales_its_deployment() -> None:
    """With autoscaling the number of replicas is KEDA's alone, for the Deployment that KServe makes."""
    values = copy.deepcopy(values_of(CASE))
    values["autoscaling"] = {"enabled": True, "prometheusAddress": "http://prometheus.monitoring:9090"}
    text = texts(values)
    (service,) = (each for name, each in text.items() if name.endswith("llm-inference-services.yaml"))
    assert "replicas:" not in service
    assert f"name: {NAME}-kserve\n" in "".join(text.values())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("url", "", "llmInferenceService.url is empty"),
        ("peers", [], "llmInferenceService.peers is empty"),
        ("profile", "offline", "the profile offline has no models that KServe serves"),
    ],
)
def test_what_cannot_work_is_refused(path: str, value: Any, message: str) -> None:
    """Values without which no call would arrive are asked for."""
    values = copy.deepcopy(values_of(CASE))
    if path == "profile":
        values["profile"] = value
    else:
        values["llmInferenceService"][path] = value
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        texts(values)
