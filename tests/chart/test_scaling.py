"""What KEDA is told: what scales by what, and that every query has one number as its answer, and the right one."""

from __future__ import annotations

import copy
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from longvideo.metrics import PRIORITIES
from tests.chart.rendering import CASES, Object, component, named, of_kind, settings_of, templates, texts, values_of
from tests.parts.prometheus import PROMTOOL, needs_promtool
from tests.promql import check

CASE = "qwen2.5-autoscaled"
SCALED = {"worker", "caption", "qa"}


def scaler(name: str) -> Object:
    """Returns what a ScaledObject says."""
    found: Object = named(CASE, "ScaledObject", f"demo-longvideo-{name}")["spec"]
    return found


def query(name: str) -> str:
    """Returns the query of a ScaledObject's first trigger."""
    found: str = scaler(name)["triggers"][0]["metadata"]["query"]
    return found


def changed(**values: Any) -> dict[str, str]:
    """Returns what the case's templates become with other values at the top."""
    given = copy.deepcopy(values_of(CASE))
    for name, value in values.items():
        given[name] = {**given.get(name, {}), **value}
    return texts(given)


@pytest.mark.parametrize("case", CASES)
def test_one_party_says_how_many_there_are(case: str) -> None:
    """A Deployment names its number of replicas, or KEDA scales it: never both, and never neither."""
    targets = [each["spec"]["scaleTargetRef"]["name"] for each in of_kind(case, "ScaledObject")]
    assert len(targets) == len(set(targets))
    for each in of_kind(case, "Deployment"):
        assert ("replicas" in each["spec"]) == (each["metadata"]["name"] not in targets)
    scaled = {component(each) for each in of_kind(case, "Deployment") if each["metadata"]["name"] in targets}
    enabled = values_of(case).get("autoscaling", {}).get("enabled", False)
    assert scaled == (SCALED if enabled else set())
    made = {each["metadata"]["name"] for each in of_kind(case, "Deployment")}
    made |= {f"{each['metadata']['name']}-predictor" for each in of_kind(case, "InferenceService")}
    assert set(targets) <= made
    if not enabled:
        assert of_kind(case, "ScaledObject", "TriggerAuthentication") == []


def test_no_profile_is_left_out() -> None:
    """The workers and the services are scaled in each profile, also where the models are somebody else's."""
    for case in ("offline", "external"):
        values = copy.deepcopy(values_of(case))
        values["autoscaling"] = {"enabled": True, "prometheusAddress": "http://prometheus:9090"}
        (text,) = (each for name, each in texts(values).items() if name.endswith("scaled-objects.yaml"))
        targets = {each["spec"]["scaleTargetRef"]["name"].split("-")[-1] for each in yaml.safe_load_all(text) if each}
        assert targets == SCALED


def test_missing_numbers_are_no_reason_to_scale_in() -> None:
    """No answer is an error to KEDA, after some of which there are as many as there were, and one at least."""
    for each in of_kind(CASE, "ScaledObject"):
        spec = each["spec"]
        first, *more = spec["triggers"]
        assert first["type"] == "prometheus"
        assert first["metricType"] == "AverageValue"
        assert first["metadata"]["ignoreNullValues"] == "false"
        assert {trigger["type"] for trigger in more} <= {"cron"}
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
        assert spec["fallback"]["replicas"] == max(1, spec["minReplicaCount"])
        assert check(first["metadata"]["query"])
        assert len(f"keda-hpa-{each['metadata']['name']}") <= 63, (
            "KEDA's own object has a name of 63 characters at most"
        )


def test_models_go_slowly_and_services_fast() -> None:
    """A model is given up after longer than it takes to load, one at a time; what starts at once follows at once."""
    for name, up, down, every in (("reasoner-h800", 30, 900, 300), ("worker", 0, 300, 60), ("caption", 0, 300, 60)):
        behavior = scaler(name)["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == up
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] == down
        assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": every}]


def test_a_model_that_may_sleep_is_woken_by_its_callers() -> None:
    """With no replica there is no server that could tell of a queue: what its callers wait for scales it."""
    spec = scaler("captioner-h800")
    assert (spec["minReplicaCount"], spec["cooldownPeriod"]) == (0, 1800)
    assert "vllm:" not in query("captioner-h800")
    assert 'role=~"caption",pool="h800"' in query("captioner-h800")
    first, office = spec["triggers"]
    assert first["metadata"]["activationThreshold"] == "0"
    assert office["metadata"] == {
        "timezone": "Asia/Shanghai",
        "start": "0 8 * * 1-5",
        "end": "0 18 * * 1-5",
        "desiredReplicas": "1",
    }
    for name in ("reasoner-h800", "worker"):
        assert "cooldownPeriod" not in scaler(name)
        assert len(scaler(name)["triggers"]) == 1
    for budget in of_kind(CASE, "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] == 1, "a budget that wants one pod could never be kept at none"
        assert "minAvailable" not in budget["spec"]


def test_a_token_for_prometheus() -> None:
    """Every question carries the token that the secret holds; without one there is no word of it."""
    (authentication,) = of_kind(CASE, "TriggerAuthentication")
    assert authentication["spec"]["secretTargetRef"] == [
        {"parameter": "bearerToken", "name": "prometheus-token", "key": "token"}
    ]
    for each in of_kind(CASE, "ScaledObject"):
        trigger = each["spec"]["triggers"][0]
        assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
        assert trigger["metadata"]["authModes"] == "bearer"
    plain = "".join(changed(autoscaling={"prometheusToken": {}}).values())
    assert "TriggerAuthentication" not in plain
    assert "authModes" not in plain


def test_the_notes_say_what_scaling_rests_on() -> None:
    """Whoever installs is told which Prometheus must know our metrics, most of all where the chart does not tell it."""
    for enabled in (True, False):
        text = changed(monitoring={"enabled": enabled})
        (notes,) = (each for name, each in text.items() if name.endswith("NOTES.txt"))
        assert "https://prometheus.monitoring:9090 knows" in notes
        assert "kubectl -n video get scaledobjects" in notes
        assert ("nothing will ever be added" in notes) != enabled


def test_weights_are_told_to_the_callers() -> None:
    """A model's weight in a pool is that of its endpoint, 1 where nothing is said."""
    weights = {(each["model"], each["pool"]): each["weight"] for each in settings_of(CASE)["endpoints"]}
    assert weights["longvideor1", "h800"] == 3
    assert weights["longvideor1", "a800"] == 0
    assert weights["Qwen2.5-VL-72B-Instruct", "a800"] == 1


@pytest.mark.parametrize("case", CASES)
def test_scaling_in_leaves_time_to_hand_over(case: str) -> None:
    """A pod is killed only well after its process has given up the calls and rounds that it had in hand."""
    grace = values_of(case).get("settings", {}).get("grace_seconds", 25)
    for name, pod in templates(case):
        assert pod["spec"]["terminationGracePeriodSeconds"] >= grace + 20, name


def test_a_worker_is_never_asked_to_carry_more_than_it_can() -> None:
    """So many episodes as a worker should have fit into it: or else some would wait while none is added."""
    target = int(scaler("worker")["triggers"][0]["metadata"]["threshold"])
    assert 0 < target <= settings_of(CASE)["episode_concurrency"]


def _series(name: str, values: object, **labels: str) -> dict[str, str]:
    """Returns a series as promtool wants it; what is a number stays the same for five minutes."""
    told = ",".join(f'{label}="{value}"' for label, value in {"namespace": "video", **labels}.items())
    return {"series": f"{name}{{{told}}}", "values": values if isinstance(values, str) else f"{values}+0x9"}


def _of_model(name: str, value: int, pod: str, **labels: str) -> dict[str, str]:
    return _series(f"vllm:num_requests_{name}", value, model_name="longvideor1", pod=f"demo-longvideo-{pod}", **labels)


def _of_calls(name: str, values: object, part: str, role: str, pool: str) -> dict[str, str]:
    return _series(f"longvideo_model_{name}", values, pod=f"demo-longvideo-{part}", role=role, pool=pool)


def _of_episodes(pod: int, *counts: int) -> list[dict[str, str]]:
    kinds = [(state, priority) for state in ("waiting", "running") for priority in PRIORITIES]
    return [
        _series(f"longvideo_episodes_{state}", count, pod=f"demo-longvideo-api-{pod}", priority=priority)
        for (state, priority), count in zip(kinds, counts, strict=True)
    ]


def _of_rpcs(value: int, pod: str, service: str) -> dict[str, str]:
    service = f"longvideo.v1.{service}"
    return _series("longvideo_rpcs_in_flight", value, pod=f"demo-longvideo-{pod}", service=service)


_SERIES = [
    # Two replicas of the reasoner, one of another pool, and one of another namespace.
    _of_model("running", 6, "reasoner-h800-predictor-0"),
    _of_model("running", 7, "reasoner-h800-predictor-1"),
    _of_model("waiting", 0, "reasoner-h800-predictor-0"),
    _of_model("waiting", 5, "reasoner-h800-predictor-1"),
    _of_model("running", 100, "reasoner-l40-predictor-0"),
    _of_model("running", 100, "reasoner-h800-predictor-0", namespace="other"),
    # Two processes that wait for captions, one of which asked in vain a while ago; and calls of others.
    _of_calls("calls_in_flight", 3, "caption-0", "caption", "h800"),
    _of_calls("calls_in_flight", 4, "caption-1", "caption", "h800"),
    _of_calls("unserved_total", "0 0 9+0x8", "caption-0", "caption", "h800"),
    _of_calls("unserved_total", 5, "caption-1", "caption", "h800"),
    _of_calls("unserved_total", "0+50x9", "worker-0", "reason", "h800"),
    _of_calls("calls_in_flight", 100, "worker-0", "reason", "h800"),
    _of_calls("calls_in_flight", 0, "caption-0", "caption", "a800"),
    _of_calls("unserved_total", 3, "caption-0", "caption", "a800"),
    # Two processes of the API, which tell the same, or nearly so: a question was asked between two looks.
    *_of_episodes(0, 10, 40, 20, 60),
    *_of_episodes(1, 10, 41, 20, 60),
    _of_rpcs(4, "caption-0", "CaptionService"),
    _of_rpcs(4, "caption-1", "CaptionService"),
    _of_rpcs(50, "api-0", "OrchestratorService"),
]
_ANSWERS = {
    # 6 + 0 and 7 + 5 requests.
    "reasoner-h800": (18, 2),
    # 3 + 4 calls in flight, and one for those that failed within five minutes.
    "captioner-h800": (8, 2),
    # A process that calls the model, and has had nothing to do for long.
    "captioner-a800": (0, 0),
    # 10 + 41 that wait, and 20 + 60 that run.
    "worker": (131, 3),
    "caption": (8, 2),
    # Nobody tells anything: no answer.
    "qa": (None, None),
    "qa-h800": (None, None),
    "reasoner-a800": (None, None),
}


@needs_promtool
def test_queries_have_one_right_answer(tmp_path: Path) -> None:
    """From what two replicas export each query makes the one number that is meant, and nothing from nothing.

    With the thresholds it makes the number of replicas that the documentation works out.
    """
    asked = []
    for name, (answer, replicas) in _ANSWERS.items():
        samples = [] if answer is None else [{"labels": "{}", "value": answer}]
        asked.append({"expr": query(name), "eval_time": "4m30s", "exp_samples": samples})
        if answer is not None:
            assert math.ceil(answer / int(scaler(name)["triggers"][0]["metadata"]["threshold"])) == replicas, name
    day = {"interval": "30s", "input_series": _SERIES, "promql_expr_test": asked}
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "30s", "tests": [day]}))
    done = subprocess.run((PROMTOOL, "test", "rules", str(file)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"models": {"qa": {"roles": ["qa", "caption"]}}}, "set minReplicas to 1, or give one of them other pools"),
        ({"models": {"captioner": {"officeReplicas": 9}}}, "more officeReplicas than maxReplicas in pool"),
        ({"models": {"captioner": {"minReplicas": 9}}}, "more minReplicas than maxReplicas in pool"),
        ({"models": {"captioner": {"weight": 0}}}, "every model with the role caption has the weight 0"),
        ({"models": {"captioner": {"weight": -1}}}, "weight"),
        (
            {"worker": {"autoscaling": {"targetEpisodes": 65}}},
            "targetEpisodes is more than settings.episode_concurrency, 64",
        ),
        (
            {"caption": {"autoscaling": {"minReplicas": 20}}},
            "caption.autoscaling has more minReplicas than maxReplicas",
        ),
        ({"worker": {"autoscaling": {"minReplicas": 0}}}, "minReplicas"),
        ({"autoscaling": {"prometheusAddress": ""}}, "give the URL of the Prometheus with our metrics and vLLM's"),
        ({"autoscaling": {"scaleDownSeconds": 5}}, "scaleDownSeconds"),
    ],
)
def test_what_would_not_scale_is_refused(values: dict[str, Any], message: str) -> None:
    """Bounds that contradict each other, and what would never wake or never be called, are refused with the fix."""
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        changed(**values)
