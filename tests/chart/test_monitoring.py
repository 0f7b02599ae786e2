"""What Prometheus and Grafana are given, and that every query in the chart makes sense."""

from __future__ import annotations

import json

import pytest
import yaml

from monitoring import __main__ as files
from tests.chart.rendering import CASES, named, of_kind, rendered, settings_of, templates, values_of
from tests.promql import check


def test_prometheus_is_told_of_every_process_and_model() -> None:
    """A PodMonitor selects the five processes; each model in each pool has one that says which it is."""
    monitors = of_kind("qwen3-monitored", "PodMonitor")
    assert all(each["metadata"]["labels"]["release"] == "kube-prometheus-stack" for each in monitors)
    ours = named("qwen3-monitored", "PodMonitor", "demo-longvideo-processes")["spec"]
    terms = {each["key"]: set(each["values"]) for each in ours["selector"]["matchExpressions"]}
    for name, pod in templates("qwen3-monitored"):
        labels = pod["metadata"]["labels"]
        assert all(labels[key] in values for key, values in terms.items()) == (name not in {"migrations", "test"})
    for service in of_kind("qwen3-monitored", "InferenceService"):
        spec = named("qwen3-monitored", "PodMonitor", service["metadata"]["name"])["spec"]
        assert spec["selector"]["matchLabels"] == {"serving.kserve.io/inferenceservice": service["metadata"]["name"]}
        (endpoint,) = spec["podMetricsEndpoints"]
        told = {each["targetLabel"]: each["replacement"] for each in endpoint["relabelings"]}
        (found,) = (
            each
            for each in settings_of("qwen3-monitored")["endpoints"]
            if f"//{service['metadata']['name']}-predictor." in each["url"]
        )
        assert told == {"model": found["model"], "pool": found["pool"], "gpus": str(found["gpus"])}
        (runtime,) = of_kind("qwen3-monitored", "ServingRuntime")
        assert endpoint["port"] in {port["name"] for port in runtime["spec"]["containers"][0]["ports"]}


@pytest.mark.parametrize("case", [case for case in CASES if "monitoring" not in values_of(case)])
def test_nothing_needs_the_prometheus_operator_unless_it_is_asked_for(case: str) -> None:
    """Without monitoring.enabled there is no object that only the operator's definitions allow."""
    assert [each for each in rendered(case) if each["apiVersion"].startswith("monitoring.coreos.com/")] == []


def test_traces_go_to_the_collector() -> None:
    """Every process and every model knows the collector; which share is sent, and what it holds, is as values say."""
    found = settings_of("qwen3-monitored")
    assert found["otlp_endpoint"] == "https://collector.observability:4317"
    assert (found["trace_sample_ratio"], found["trace_content"]) == (0.1, True)
    (runtime,) = of_kind("qwen3-monitored", "ServingRuntime")
    asked = runtime["spec"]["containers"][0]["args"]
    assert "--otlp-traces-endpoint=https://collector.observability:4317" in asked
    assert "otlp_endpoint" not in settings_of("qwen3")


def test_prometheus_is_given_the_rules() -> None:
    """The rules are those of the file, for the release's own namespace, and lead to the runbooks that values name."""
    found = named("qwen3-monitored", "PrometheusRule", "demo-longvideo-rules")
    assert found["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    text = files.made()["rules.yaml"].replace('namespace="longvideo"', 'namespace="video"')
    runbooks = "https://git.internal/longvideo/docs/operations.md#"
    assert found["spec"] == yaml.safe_load(text.replace("docs/operations.md#", runbooks))
    for group in found["spec"]["groups"]:
        for rule in group["rules"]:
            check(rule["expr"])


def test_grafana_is_given_the_dashboards() -> None:
    """Each dashboard is in a ConfigMap that Grafana's sidecar finds, as it stands in the chart's files."""
    maps = [
        each for each in of_kind("qwen3-monitored", "ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    boards = {name: text for name, text in files.made().items() if name.startswith("dashboards/")}
    shown = {name: text for each in maps for name, text in each["data"].items()}
    assert {f"dashboards/{name.removeprefix('longvideo-')}": json.loads(text) for name, text in shown.items()} == {
        name: json.loads(text) for name, text in boards.items()
    }
    assert all(each["metadata"]["annotations"]["grafana_folder"] == "longvideo" for each in maps)


@pytest.mark.parametrize("case", CASES)
def test_queries_that_scale_make_sense(case: str) -> None:
    """Each query that KEDA asks parses, and names metrics and labels that our code or vLLM exports."""
    for each in of_kind(case, "ScaledObject"):
        for trigger in each["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                assert check(trigger["metadata"]["query"])
