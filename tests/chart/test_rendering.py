"""What Helm says of the chart, and what the chart says to values that are wrong."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from typing import Any

import helm_python as helm
import pytest
import yaml

from tests.chart.rendering import CASES, CHART, REPOSITORY, chart, rendered, texts, values_of


@pytest.mark.parametrize("case", CASES)
def test_lint(case: str) -> None:
    """`helm lint --strict` finds nothing but the missing icon."""
    report = helm.lint(CHART, values_of(case), strict=True)

    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("case", CASES)
def test_rendering_is_deterministic(case: str) -> None:
    """The same values always make the same objects, no two of which have one name."""
    assert texts(values_of(case)) == texts(values_of(case))
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered(case)]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for _, name in names)


def test_the_schema_and_the_table_are_those_of_the_values() -> None:
    """values.schema.json and the README's table say what values.yaml says."""
    done = subprocess.run(
        [sys.executable, "bin/chart-docs", "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


_PRICES = {"h800": {"2026-01-01": {"price": 2, "source": "contract"}}}
_ALONE = {"role": "qa", "model": "m", "pool": "h800", "seconds": 2, "source": "measured"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("replica", 3, "replica"),
        ("api.replicsa", 3, "replicsa"),
        ("api.replicas", "many", "replicas"),
        ("profile", "qwen4", "profile"),
        ("settings.cache_byte", 1, "cache_byte"),
        ("settings.database_url", "postgresql://x", "database_url"),
        ("settings.endpoints", [], "endpoints"),
        ("image.digest", "abc", "digest"),
        ("models.extra", {"gpu": 1}, "gpu"),
        ("pools.BIG", {}, "BIG"),
        ("externalModels.one", {"roles": ["reason"]}, "url"),
        ("database.existingSecret", "", "database.existingSecret is empty"),
        ("broker.existingSecret", "", "broker.existingSecret is empty"),
        ("objectStore.url", "", "objectStore.url is empty"),
        ("tls.issuer.name", "", "set tls.existingSecret or tls.issuer.name"),
        ("tls.existingSecret", "both", "set one of them"),
        ("api.tls.existingSecret", "mine", "api.tls.hosts is empty"),
        ("profile", "qwen3", "pools is empty"),
        ("profile", "external", "no model has the role reason"),
        ("autoscaling.enabled", True, "autoscaling.prometheusAddress"),
        ("monitoring.traces.models", True, "monitoring.traces.endpoint is empty"),
        ("monitoring.traces", {"endpoint": "http://c:4317", "content": True}, "has no TLS"),
        ("settings.price_book", "/tmp/prices.toml", "price_book"),
        ("prices.gpuHours", {"h800": {"2026-01-01": {"price": 2}}}, "source"),
        ("prices.gpuHours", {"h800": {"always": {"price": 2, "source": "contract"}}}, "always"),
        ("prices.gpuHours", _PRICES, "prices.currency is empty"),
        ("prices.currency", "euro", "currency"),
        ("prices.alone", {"captions": _ALONE}, "prices.gpuHours is empty"),
    ],
)
def test_wrong_values_are_refused(path: str, value: Any, message: str) -> None:
    """A typo, a value of the wrong kind, and values that contradict each other are refused with a word about which."""
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        texts(_changed(values_of("offline"), path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("models.reasoner.storageUri", "", "models.reasoner.storageUri is empty"),
        ("models.reasoner.pools", {"b200": {}}, "models.reasoner.pools names b200"),
        ("models.reasoner.pools", {"h800": {"minReplicas": 9}}, "raise maxReplicas"),
        ("models.reasoner.roles", ["qa"], "no model has the role reason"),
        ("models.vision.servedName", "", "models.vision.servedName is empty"),
    ],
)
def test_wrong_models_are_refused(path: str, value: Any, message: str) -> None:
    """What KServe or our services would trip over is refused before it is installed."""
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        texts(_changed(values_of("qwen3"), path, value))


def test_every_value_is_used() -> None:
    """For each value of values.yaml that is written out there is a case that it makes a difference to."""
    defaults = chart().values
    cases = {case: (values, texts(values)) for case in CASES for values in [values_of(case)]}
    unused = [path for path, value in _leaves(defaults) if not _matters(path, value, cases)]
    assert unused == []


def test_no_template_names_an_undeclared_value() -> None:
    """Whatever the templates take from `.Values` stands in values.yaml."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    for each in chart().templates:
        for path in re.findall(r"\.Values\.([A-Za-z_.]+)", _text(each)):
            found: Any = defaults
            for key in path.rstrip(".").split("."):
                assert key in found, path
                found = found[key]


def test_the_notes_say_what_to_do_first() -> None:
    """The notes hold the commands for the first token and the first question, and the names of the certificate."""
    (notes,) = (text for name, text in texts(values_of("offline")).items() if name.endswith("NOTES.txt"))
    assert "token create team-a" in notes
    assert "longvideo ask VIDEO" in notes
    assert "demo-longvideo-caption.video.svc.cluster.local" in notes


@pytest.mark.parametrize("case", CASES)
def test_the_notes_name_a_server_as_the_command_wants_it(case: str) -> None:
    """The first question goes to `https://host`, or without TLS to `host:port`, which is all that the command takes."""
    (notes,) = (text for name, text in texts(values_of(case)).items() if name.endswith("NOTES.txt"))
    servers = re.findall(r"--server (\S+)", notes)
    assert servers
    for server in servers:
        assert re.fullmatch(r"https://[a-z0-9.-]+(:\d+)?|[a-z0-9.-]+:\d+", server)


_PEERS = [{"ipBlock": {"cidr": "10.9.0.0/16"}}]
_SAMPLES: dict[str, Any] = {
    "affinity": {"podAffinity": {}},
    "alone": {"captions": _ALONE},
    "auth": "none",
    "chatTemplate": "reasoner.jinja",
    "clients": _PEERS,
    "clusterDomain": "x.local",
    "currency": "USD",
    "digest": "sha256:" + "2" * 64,
    "dns": _PEERS,
    "from": _PEERS,
    "externalModels": {"x": {"url": "http://x/v1", "roles": ["qa"]}},
    "extraArgs": ["--x"],
    "extraEnv": [{"name": "X", "value": "x"}],
    "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
    "extraVolumes": [{"name": "x", "emptyDir": {}}],
    "gpuHours": _PRICES,
    "hosts": ["x.example.org"],
    "imagePullSecrets": [{"name": "x"}],
    "ingress.authority.kind": "Secret",
    "ingress.kind": "Ingress",
    "interval": "30s",
    "loadSeconds": 7200,
    "localModelCache.storage": "9Ti",
    "llmInferenceService.url": "http://x",
    "modelDefaults.pools": {"h800": {"replicas": 7}},
    "models": {"reasoner": {"servedName": "other"}},
    "monitoring": _PEERS,
    "peers": _PEERS,
    "pod": {"labels": {"x": "y"}},
    "pools": {"x": {}},
    "ports": [1234],
    "prices.prometheusAddress": "http://x:9090",
    "priorityClasses.models": 7,
    "profile": "qwen3",
    "profiles": ["qwen3", "qwen2.5"],
    "pullPolicy": "Always",
    "monitoring.dashboards.labels": {"x": "y"},
    "monitoring.traces.endpoint": "https://x:4317",
    "monitoring.traces.models": True,
    "roles": ["reason"],
    "sampleRatio": 0.5,
    "serving.deploymentStrategy": {"type": "Recreate"},
    "storageUri": "hf://x/y",
    "to": _PEERS,
    "tolerations": [{"key": "x", "operator": "Exists"}],
    "topologyKeys": ["x"],
    "type": "LoadBalancer",
    "url": "s3://other/x",
    "weightsSize": "7Gi",
}


def _leaves(values: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        # A component's own pod, and what stands in `models`, is the same template's work for all.
        if isinstance(value, dict) and value and f"{path}{key}" not in {"models", "serving.deploymentStrategy"}:
            found += _leaves(value, f"{path}{key}.")
        else:
            found.append((f"{path}{key}", value))
    return found


def _other(path: str, value: Any) -> Any:
    for sample in (path, path.rpartition(".")[2]):
        if sample in _SAMPLES:
            return _SAMPLES[sample]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value / 2
    return {"x": "y"} if isinstance(value, dict) else f"{value}x"


def _matters(path: str, value: Any, cases: dict[str, tuple[dict[str, Any], dict[str, str]]]) -> bool:
    # What models are by default is seen at one that says nothing else.
    models = [path.replace("modelDefaults", f"models.{model}") for model in ("reasoner", "captioner", "spare")]
    # A case that sets something beside it is more likely to show it, and most values are of models that KServe serves.
    section = path.partition(".")[0]
    ordered = sorted(cases, key=lambda case: (section not in cases[case][0], case.startswith("offline")))
    for each in dict.fromkeys([path, *models]):
        for values, before in (cases[case] for case in ordered):
            try:
                if texts(_changed(values, each, _other(path, value))) != before:
                    return True
            except helm.HelmError as error:
                # A word about another value means that this one was looked at.
                if "schema" not in str(error):
                    return True
    return False


def _changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    inner = changed
    *above, last = path.split(".")
    for key in above:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return changed


def _text(template: dict[str, str]) -> str:
    text = (CHART / template["name"]).read_text("utf-8")
    assert text
    return text
