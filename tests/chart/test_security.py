"""What the pods may do, and who may talk to whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chart.rendering import CASES, Object, component, named, of_kind, selects, templates, values_of

CLOSED = [case for case in CASES if case != "offline-open"]
OURS = {("api", "caption", 7701), ("worker", "caption", 7701), ("worker", "qa", 7702)}
# What `helm test` looks at is all that the others use.
TESTED = {("test", "api", 7700), ("test", "caption", 7701), ("test", "qa", 7702)}
OUTSIDE = {
    "api": {5432, 6379, 443, 9000},
    "worker": {5432, 6379, 443, 9000},
    "beat": {6379},
    "caption": {443, 9000},
    "qa": {443, 9000},
    "migrations": {5432},
    "offline-models": set(),
    "test": {5432, 6379, 443, 9000},
}


# These have no part in traces, the models unless they are told to.
SILENT = {"migrations", "offline-models", "test", "scheduler"}


def _pods(case: str) -> Iterator[tuple[str, Object]]:
    for name, pod in templates(case):
        yield name, pod["spec"]
    for runtime in of_kind(case, "ServingRuntime"):
        for service in of_kind(case, "InferenceService"):
            predictor = service["spec"]["predictor"]
            volumes = runtime["spec"]["volumes"] + predictor["volumes"]
            yield (
                service["metadata"]["name"],
                predictor
                | {
                    "containers": runtime["spec"]["containers"],
                    "volumes": volumes,
                },
            )
    for service in of_kind(case, "LLMInferenceService"):
        yield service["metadata"]["name"], service["spec"]["template"]


@pytest.mark.parametrize("case", CASES)
def test_pods_pass_the_restricted_standard(case: str) -> None:
    """No pod may be root, gain privileges, have a capability, use the host, or do without the seccomp filter."""
    for name, spec in _pods(case):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "configMap", "secret", "projected"}
        for container in spec["containers"]:
            assert {"runAsNonRoot": True} | container["securityContext"] == {
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert all("hostPort" not in port for port in container.get("ports", []))


@pytest.mark.parametrize("case", CASES)
def test_pods_have_no_token_of_kubernetes(case: str) -> None:
    """Only `helm test` talks to Kubernetes, and only if asked to; no pod shares an account with another component."""
    accounts = [pod["spec"]["serviceAccountName"] for _, pod in templates(case)]
    assert len(accounts) == len(set(accounts))
    asked = values_of(case).get("tests", {}).get("kubernetes", False)
    for name, spec in _pods(case):
        assert spec["automountServiceAccountToken"] is (asked and name == "test")
        assert spec["enableServiceLinks"] is False
    rights = of_kind(case, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
    assert [component(each) for each in rights] == (["test"] * 4 if asked else [])


def test_helm_test_only_reads() -> None:
    """With `tests.kubernetes` its pod may read what docs/cluster.md says, of secrets those of the release alone."""
    rules = [rule for each in of_kind("qwen3", "Role", "ClusterRole") for rule in each["rules"]]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list"}
    (secrets,) = (rule for rule in rules if "secrets" in rule["resources"])
    assert secrets["verbs"] == ["get"]
    assert set(secrets["resourceNames"]) == {
        *("longvideo-database", "longvideo-broker", "longvideo-s3", "longvideo-models"),
        *("demo-longvideo-tls", "demo-longvideo-api-tls"),
    }
    for binding in of_kind("qwen3", "RoleBinding", "ClusterRoleBinding"):
        assert named("qwen3", binding["roleRef"]["kind"], binding["roleRef"]["name"])
        (subject,) = binding["subjects"]
        assert subject == {"kind": "ServiceAccount", "name": "demo-longvideo-test", "namespace": "video"}


@pytest.mark.parametrize("case", CASES)
def test_every_container_has_bounds(case: str) -> None:
    """Each container says what it needs, and what memory it may have at most."""
    for _, pod in templates(case):
        for container in pod["spec"]["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("case", CLOSED)
def test_every_pod_has_a_policy(case: str) -> None:
    """Each pod is under exactly one policy, for both directions."""
    policies = of_kind(case, "NetworkPolicy")
    for name, pod in templates(case):
        found = [each for each in policies if selects(pod["metadata"]["labels"], _selected(each))]
        assert [component(each) for each in found] == [name]
    for service in of_kind(case, "InferenceService"):
        labels = {"serving.kserve.io/inferenceservice": service["metadata"]["name"]}
        assert len([each for each in policies if selects(labels, _selected(each))]) == 1
    assert all(each["spec"]["policyTypes"] == ["Ingress", "Egress"] for each in policies)


@pytest.mark.parametrize("case", CLOSED)
def test_policies_allow_the_edges_of_the_design(case: str) -> None:
    """Between pods of the release there are the design's connections and no others, allowed at both ends."""
    wanted = OURS | TESTED | _model_edges(case)
    assert _edges_out(case) == wanted
    assert _edges_in(case) == wanted


@pytest.mark.parametrize("case", CLOSED)
def test_policies_let_out_what_each_needs(case: str) -> None:
    """Outside the release each component reaches names, and the stores that it uses."""
    for policy in of_kind(case, "NetworkPolicy"):
        name = component(policy)
        rules = [rule for rule in policy["spec"]["egress"] if not _within(rule)]
        ports = {port["port"] for rule in rules for port in rule["ports"]} - {53}
        if "endpoint" in values_of(case).get("monitoring", {}).get("traces", {}) and name not in SILENT:
            assert 4317 in ports
            ports.remove(4317)
        if name == "api" and "prometheusAddress" in values_of(case).get("prices", {}):
            assert 9090 in ports
            ports.remove(9090)
        if name == "model":
            assert ports == {443}
        elif name == "scheduler":
            assert ports == {443, 6443}
        elif case == "qwen3-llm" and name in {"worker", "test"}:
            assert ports == OUTSIDE[name] | {10080}
        elif case == "external" and name in {"worker", "caption", "qa", "test"}:
            assert ports == OUTSIDE[name] | {443}
        elif name == "test" and values_of(case).get("tests", {}).get("kubernetes"):
            assert ports == OUTSIDE[name] | {443, 6443}
        else:
            assert ports == OUTSIDE[name]


def test_the_api_is_for_the_clients_that_are_named() -> None:
    """Everybody reaches the API's port unless clients are named."""
    rule, *_ = named("offline", "NetworkPolicy", "demo-longvideo-api")["spec"]["ingress"]
    assert rule == {"ports": [{"port": 7700, "protocol": "TCP"}]}
    rule, *_ = named("external", "NetworkPolicy", "demo-longvideo-api")["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]


@pytest.mark.parametrize("case", CLOSED)
def test_metrics_are_for_monitoring_alone(case: str) -> None:
    """Each process and model lets those in who collect metrics, at the port where its metrics are and at no other."""
    peers = (
        values_of(case)
        .get("networkPolicy", {})
        .get("monitoring", [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}])
    )
    for policy in of_kind(case, "NetworkPolicy"):
        ports = [
            port["port"] for rule in policy["spec"]["ingress"] if rule.get("from") == peers for port in rule["ports"]
        ]
        name = component(policy)
        model = 8000 if "kserve.io/component" in _selected(policy) else 8080
        assert ports == {"migrations": [], "offline-models": [], "test": [], "model": [model], "scheduler": [9090]}.get(
            name, [9464]
        )
        others = [rule for rule in policy["spec"]["ingress"] if rule.get("from") != peers]
        assert 9464 not in {port["port"] for rule in others for port in rule["ports"]}


def test_policies_can_be_left_out() -> None:
    """Without networkPolicy.enabled there is none."""
    assert of_kind("offline-open", "NetworkPolicy") == []


def _selected(policy: Object) -> dict[str, str]:
    found: dict[str, str] = policy["spec"]["podSelector"]["matchLabels"]
    return found


def _subject(policy: Object) -> str:
    return _named_by(_selected(policy))


def _named_by(labels: dict[str, str]) -> str:
    """Returns what these labels select: a component of ours, a model, or a model's scheduler."""
    if "serving.kserve.io/inferenceservice" in labels:
        return labels["serving.kserve.io/inferenceservice"]
    if labels.get("kserve.io/component") == "workload":
        return labels["app.kubernetes.io/name"]
    if labels["app.kubernetes.io/component"] == "llminferenceservice-router-scheduler":
        return f"{labels['app.kubernetes.io/name']}'s scheduler"
    return labels["app.kubernetes.io/component"]


def _within(rule: Object) -> bool:
    peers = rule.get("to", [])
    return bool(peers) and all(set(peer) == {"podSelector"} for peer in peers)


def _peers(peer: Object) -> list[str]:
    if "matchLabels" in peer["podSelector"]:
        return [_named_by(peer["podSelector"]["matchLabels"])]
    (expression,) = peer["podSelector"]["matchExpressions"]
    assert (expression["key"], expression["operator"]) == ("serving.kserve.io/inferenceservice", "In")
    return list(expression["values"])


def _edges_out(case: str) -> set[tuple[str, str, int]]:
    return {
        (_subject(policy), to, port["port"])
        for policy in of_kind(case, "NetworkPolicy")
        for rule in policy["spec"]["egress"]
        if _within(rule)
        for peer in rule["to"]
        for to in _peers(peer)
        for port in rule["ports"]
    }


def _edges_in(case: str) -> set[tuple[str, str, int]]:
    return {
        (origin, _subject(policy), port["port"])
        for policy in of_kind(case, "NetworkPolicy")
        for rule in policy["spec"]["ingress"]
        for peer in rule.get("from", [])
        if set(peer) == {"podSelector"}
        for origin in _peers(peer)
        for port in rule["ports"]
    }


def _model_edges(case: str) -> set[tuple[str, str, int]]:
    if case == "external":
        return set()
    if case.startswith("offline"):
        return {(caller, "offline-models", 8200) for caller in ("worker", "caption", "qa", "test")}
    callers = {"reasoner": {"worker"}, "vision": {"caption", "qa"}, "captioner": {"caption"}}
    models = [service["metadata"]["name"] for service in of_kind(case, "LLMInferenceService")]
    return {(f"{model}'s scheduler", model, 8000) for model in models} | {
        (caller, service["metadata"]["name"], 8080)
        for service in of_kind(case, "InferenceService")
        for caller in {"test"} | callers.get(service["spec"]["predictor"]["labels"]["longvideo/model"], {"qa"})
    }
