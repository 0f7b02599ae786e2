"""That what the objects say of each other is so: selectors, secrets, ports, addresses and settings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from longvideo import prices, settings
from tests.chart.rendering import (
    CASES,
    CHART,
    Object,
    component,
    named,
    of_kind,
    rendered,
    selects,
    settings_of,
    templates,
    texts,
    values_of,
)

SERVED = [case for case in CASES if case.startswith("qwen")]


@pytest.mark.parametrize("case", CASES)
def test_selectors_find_their_pods(case: str) -> None:
    """Each Deployment, Service, disruption budget and spread selects the pods of one component, and of no other."""
    pods = dict(templates(case))
    for each in of_kind(case, "Deployment", "Service", "PodDisruptionBudget"):
        selector = each["spec"]["selector"]
        wanted = selector if each["kind"] == "Service" else selector["matchLabels"]
        if "kserve.io/component" in wanted:
            assert named(case, "LLMInferenceService", wanted["app.kubernetes.io/name"])
            continue
        if "serving.kserve.io/inferenceservice" in wanted:
            assert named(case, "InferenceService", wanted["serving.kserve.io/inferenceservice"])
            continue
        found = [name for name, pod in pods.items() if selects(pod["metadata"]["labels"], wanted)]
        assert found == [component(each)]
    for name, pod in pods.items():
        for spread in pod["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == name


@pytest.mark.parametrize("case", CASES)
def test_selectors_hold_nothing_that_changes(case: str) -> None:
    """A Deployment's selector, which cannot be changed, holds no version and nothing that a value gives."""
    for each in of_kind(case, "Deployment"):
        assert set(each["spec"]["selector"]["matchLabels"]) == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
        }


@pytest.mark.parametrize("case", CASES)
def test_what_pods_mount_exists(case: str) -> None:
    """ConfigMaps and service accounts are the chart's; a secret is one that the values name, or a Certificate's."""
    secrets = _secrets(case)
    for name, pod in templates(case):
        assert named(case, "ServiceAccount", pod["spec"]["serviceAccountName"])
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            mounts = [mount["name"] for mount in container["volumeMounts"]]
            assert sorted(mounts) == sorted(volumes), name
        for volume in volumes.values():
            if volume["name"] == "prompts":
                assert volume["configMap"]["name"] == values_of(case)["promptPack"]["existingConfigMap"]
            elif "configMap" in volume:
                assert named(case, "ConfigMap", volume["configMap"]["name"])
            for source in volume.get("projected", {}).get("sources", []):
                keys = {item["key"] for item in source["secret"]["items"]}
                assert keys <= secrets[source["secret"]["name"]]
            if "secret" in volume:
                assert volume["secret"]["secretName"] in secrets


@pytest.mark.parametrize("case", CASES)
def test_processes_are_given_only_the_secrets_that_they_need(case: str) -> None:
    """No process is given a secret that it has no use for."""
    allowed = {
        "api": {"DATABASE_URL", "BROKER_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY"},
        "worker": {"DATABASE_URL", "BROKER_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "API_KEY"},
        "beat": {"BROKER_URL"},
        "caption": {"S3_ACCESS_KEY", "S3_SECRET_KEY", "API_KEY"},
        "qa": {"S3_ACCESS_KEY", "S3_SECRET_KEY", "API_KEY"},
        "migrations": {"DATABASE_URL"},
        "offline-models": set(),
        "test": {"DATABASE_URL", "BROKER_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "API_KEY"},
    }
    keys = set() if values_of(case).get("modelKeys") else {"API_KEY"}
    if "traces" in values_of(case).get("monitoring", {}):
        for name in ("api", "worker", "beat", "caption", "qa"):
            allowed[name].add("OTLP_HEADERS")
    for name, pod in templates(case):
        given = {_secret(each["name"]) for each in _environment(pod) if each["name"].endswith("_FILE")} - {"SETTINGS"}
        assert given == allowed[name] - keys, name


@pytest.mark.parametrize("case", CASES)
def test_variables_name_what_is_mounted(case: str) -> None:
    """Each variable that holds a path of longvideo's names a file that one of the container's volumes holds."""
    for _, pod in templates(case):
        files = _files(pod)
        paths = [each["value"] for each in _environment(pod) if each["value"].startswith("/etc/")]
        assert set(paths) <= files
        if "/etc/longvideo/settings/settings.toml" in paths and "tls_cert" in settings_of(case):
            assert {settings_of(case)[f"tls_{part}"] for part in ("cert", "key", "ca")} <= files


@pytest.mark.parametrize("case", CASES)
def test_the_settings_are_settings(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings file loads, together with the variables of every container."""
    (config,) = (each for each in of_kind(case, "ConfigMap") if "settings.toml" in each["data"])
    file = tmp_path / "settings.toml"
    file.write_text(config["data"]["settings.toml"])
    for name, pod in templates(case):
        with monkeypatch.context() as patch:
            for each in _environment(pod):
                if each["name"].startswith("LONGVIDEO_"):
                    patch.setenv(each["name"], _placed(each, file, tmp_path))
            loaded = settings.load()
        if name not in {"migrations", "offline-models"}:
            assert {role for endpoint in loaded.endpoints for role in endpoint.roles} == {"reason", "caption", "qa"}
            assert loaded.object_store == values_of(case)["objectStore"]["url"]


def test_given_settings_arrive() -> None:
    """Settings of the values are in the file as what they are: text, numbers and lists."""
    found = settings_of("external")
    assert (found["sampling"], found["cache_bytes"], found["import_buckets"]) == ("light", 268435456, ["archive"])
    assert found["media_seconds"] == 300.5


def test_a_given_prompt_pack_arrives() -> None:
    """Each process that reads the settings has the prompt pack where they say, and without one none is named."""
    pack = settings_of("external")["prompt_pack"]
    for name, pod in templates("external"):
        assert (pack in _files(pod)) == (name not in {"migrations", "offline-models"}), name
    assert "prompt_pack" not in settings_of("qwen3")


def test_given_prices_arrive(tmp_path: Path) -> None:
    """The prices of the values are the price book that the settings name, and a new price restarts who reads it."""
    (config,) = (each for each in of_kind("qwen3", "ConfigMap") if "settings.toml" in each["data"])
    assert settings_of("qwen3")["price_book"] == "/etc/longvideo/settings/prices.toml"
    file = tmp_path / "prices.toml"
    file.write_text(config["data"]["prices.toml"])
    book = prices.load(file)
    assert book is not None
    june, august = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (6, 8))
    assert [book.price("h800", june), book.price("h800", august), book.price("a800", june)] == [2, 2.25, 1.5]
    assert book.alone("reason", "longvideor1", "h800") == 2.5
    values = values_of("qwen3")
    values["prices"]["gpuHours"]["h800"]["2026-01-01"]["price"] = 3
    changed = texts(values)["longvideo/templates/api.yaml"]
    (before,) = (pod for name, pod in templates("qwen3") if name == "api")
    assert before["metadata"]["annotations"]["checksum/settings"] not in changed


def test_the_api_may_ask_prometheus() -> None:
    """The API, and nobody else, may reach the Prometheus that it is to ask, and asks about its namespace."""
    found = settings_of("qwen3")
    assert found["prometheus_url"] == values_of("qwen3")["prices"]["prometheusAddress"]
    assert found["prometheus_namespace"] == "video"
    port = {"port": 9090, "protocol": "TCP"}
    reaching = {
        case: {
            component(policy)
            for policy in of_kind(case, "NetworkPolicy")
            for rule in policy["spec"].get("egress", [])
            if port in rule.get("ports", [])
        }
        for case in CASES
    }
    assert reaching == {case: {"api"} if case == "qwen3" else set() for case in CASES}


@pytest.mark.parametrize("case", [case for case in CASES if case != "qwen3"])
def test_without_prices_there_is_no_book(case: str) -> None:
    """A release that was given no prices knows none."""
    assert "price_book" not in settings_of(case)


@pytest.mark.parametrize("case", CASES)
def test_ports_line_up(case: str) -> None:
    """A Service's port leads to a container's port, where the settings say that the process listens and is found."""
    found = settings_of(case)
    pods = dict(templates(case))
    services = {component(each): each for each in of_kind(case, "Service")}
    assert set(services) - {"offline-models"} == {"api", "caption", "qa"}
    for name, service in services.items():
        (port,) = service["spec"]["ports"]
        (container,) = pods[name]["spec"]["containers"]
        opened = container["ports"][0]
        assert opened["name"] == port["targetPort"]
        assert opened["containerPort"] == port["port"]
        if name == "offline-models":
            host = f"http://{service['metadata']['name']}.video.svc.cluster.local:{port['port']}/v1"
            assert {each["url"] for each in found["endpoints"]} == {host}
            assert container["command"][-1] == str(port["port"])
            continue
        assert found[f"{name}_listen"] == f"0.0.0.0:{port['port']}"
        if name != "api":
            host = f"{service['metadata']['name']}.video.svc.cluster.local"
            assert found[f"{name}_address"] == f"{host}:{port['port']}"
            assert service["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("case", CASES)
def test_every_process_tells_its_metrics_at_one_port(case: str) -> None:
    """Each process listens for Prometheus where its container says so; the offline models have nothing to tell."""
    assert settings_of(case)["metrics_listen"] == "0.0.0.0:9464"
    for name, pod in templates(case):
        (container,) = pod["spec"]["containers"]
        ports = [port["containerPort"] for port in container.get("ports", []) if port["name"] == "metrics"]
        assert ports == ([] if name in {"migrations", "offline-models", "test"} else [9464]), name


@pytest.mark.parametrize("case", CASES)
def test_probes_ask_the_port_that_the_process_has(case: str) -> None:
    """Every process is asked whether it lives and is ready, at the port where it answers."""
    ports = {"api": 7700, "caption": 7701, "qa": 7702, "worker": 7703, "beat": 7703}
    for name, pod in templates(case):
        (container,) = pod["spec"]["containers"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(kind)
            if name in {"migrations", "test"}:
                assert probe is None
            elif name == "offline-models":
                assert probe["httpGet"]["port"] == container["ports"][0]["name"]
            else:
                assert probe["exec"]["command"][:4] == ["python", "-m", "longvideo.health", f"127.0.0.1:{ports[name]}"]
                assert ("--name" in probe["exec"]["command"]) == ("tls_cert" in settings_of(case))
        if name in {"worker", "beat"}:
            assert {"name": "LONGVIDEO_HEALTH_LISTEN", "value": "127.0.0.1:7703"} in container["env"]


@pytest.mark.parametrize("case", CASES)
def test_probes_use_a_name_of_the_certificate(case: str) -> None:
    """The name that a probe expects is one that the certificate is made for."""
    for certificate in of_kind(case, "Certificate"):
        if certificate["spec"]["secretName"].endswith("-ingress-tls"):
            continue  # which no process of ours has
        names = set(certificate["spec"]["dnsNames"])
        own = certificate["spec"]["secretName"].endswith("-api-tls")
        has_own = any(each["spec"]["secretName"].endswith("-api-tls") for each in of_kind(case, "Certificate"))
        for name, pod in templates(case):
            command = pod["spec"]["containers"][0].get("livenessProbe", {}).get("exec", {}).get("command", [])
            if "--name" in command and own == (name == "api" and has_own):
                assert command[command.index("--name") + 1] in names


@pytest.mark.parametrize("case", SERVED)
def test_endpoints_are_the_services_that_kserve_makes(case: str) -> None:
    """Each model in each pool has an endpoint: its Service's URL, its served name, its roles, its pool and its GPUs."""
    port = ":8080" if values_of(case).get("serving", {}).get("headlessServices") else ""
    (runtime,) = of_kind(case, "ServingRuntime")
    (container,) = runtime["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == 8080
    endpoints = {each["url"]: each for each in settings_of(case)["endpoints"]}
    services = of_kind(case, "InferenceService")
    assert len(endpoints) == len(services) + len(of_kind(case, "LLMInferenceService"))
    for each in services:
        endpoint = endpoints[f"http://{each['metadata']['name']}-predictor.video.svc.cluster.local{port}/v1"]
        predictor = each["spec"]["predictor"]
        args = dict(arg.split("=", 1) for arg in predictor["model"]["args"] if "=" in arg)
        assert args["--served-model-name"] == endpoint["model"]
        assert int(args["--max-model-len"]) == endpoint["context_length"]
        assert predictor["labels"]["longvideo/pool"] == endpoint["pool"]
        assert "--scheduling-policy=priority" in container["args"]
        assert endpoint["priority"]
        limits, requests = (predictor["model"]["resources"][kind] for kind in ("limits", "requests"))
        (gpus,) = (value for key, value in limits.items() if key.startswith("nvidia.com/"))
        assert gpus == str(endpoint["gpus"]) == args["--tensor-parallel-size"]
        assert (limits["memory"], requests["memory"], "cpu" in limits) == ("96Gi", "32Gi", False)


@pytest.mark.parametrize("case", SERVED)
def test_models_find_what_they_mount(case: str) -> None:
    """A model's runtime, service account, chat template and secret exist; its volumes are mounted, and no others."""
    (runtime,) = of_kind(case, "ServingRuntime")
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"
    for each in of_kind(case, "InferenceService"):
        predictor = each["spec"]["predictor"]
        assert predictor["model"]["runtime"] == runtime["metadata"]["name"]
        mounted = {mount["name"] for mount in container["volumeMounts"] + predictor["model"].get("volumeMounts", [])}
        volumes = {volume["name"] for volume in runtime["spec"]["volumes"] + predictor["volumes"]}
        assert mounted == volumes
        for volume in predictor["volumes"]:
            if "configMap" in volume:
                assert "reasoner.jinja" in named(case, "ConfigMap", volume["configMap"]["name"])["data"]
                assert "--chat-template=/etc/longvideo/chat-templates/reasoner.jinja" in predictor["model"]["args"]
        own = {account["metadata"]["name"] for account in of_kind(case, "ServiceAccount")}
        assert predictor["serviceAccountName"] in own | {values_of(case).get("serving", {}).get("serviceAccountName")}
    for variable in container["env"]:
        if "valueFrom" in variable:
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["key"] in _secrets(case)[reference["name"]]


@pytest.mark.parametrize("case", SERVED)
def test_models_are_scaled_by_one_party(case: str) -> None:
    """KServe keeps the number of replicas, or KEDA does: never both, and never KServe's own rule by CPU."""
    scaled = {each["spec"]["scaleTargetRef"]["name"]: each for each in of_kind(case, "ScaledObject")}
    for each in of_kind(case, "InferenceService"):
        annotations, predictor = each["metadata"]["annotations"], each["spec"]["predictor"]
        assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
        scaler = scaled.pop(f"{each['metadata']['name']}-predictor", None)
        assert annotations["serving.kserve.io/autoscalerClass"] == ("external" if scaler else "none")
        assert ("minReplicas" in predictor) == (scaler is None)
    assert not any(name.endswith("-predictor") for name in scaled)


def test_a_pool_of_a_model_has_its_own_numbers() -> None:
    """A model runs in the pools that it names, with the replicas that it has there."""
    assert named("qwen3", "InferenceService", "demo-longvideo-reasoner-a800")["spec"]["predictor"]["minReplicas"] == 2
    names = {each["metadata"]["name"] for each in of_kind("qwen3", "InferenceService")}
    assert "demo-longvideo-reasoner-h800" not in names
    assert {"demo-longvideo-vision-h800", "demo-longvideo-vision-a800"} <= names
    spec = named("qwen2.5-autoscaled", "ScaledObject", "demo-longvideo-reasoner-h800")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 6)


def test_the_chart_has_the_version_of_the_product() -> None:
    """The image's default tag is the version of this checkout."""
    from longvideo import __version__  # noqa: PLC0415

    read = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert read["appVersion"] == __version__


def test_hooks_need_nothing_that_comes_later() -> None:
    """What runs before an installation mounts no object of the chart but those that are made before it."""
    hooks = [each for each in rendered("offline") if "pre-install" in str(each["metadata"].get("annotations"))]
    assert {each["kind"] for each in hooks} == {"Job", "ServiceAccount", "NetworkPolicy"}
    (job,) = (each for each in hooks if each["kind"] == "Job")
    weights = {each["kind"]: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in hooks}
    assert weights["Job"] > max(weights["ServiceAccount"], weights["NetworkPolicy"])
    assert {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]} == {"tmp", "secrets"}


def _environment(pod: Object) -> list[dict[str, str]]:
    (container,) = pod["spec"]["containers"]
    found: list[dict[str, str]] = container["env"]
    return found


def _secret(variable: str) -> str:
    return variable.removeprefix("LONGVIDEO_").removesuffix("_FILE")


def _placed(variable: dict[str, str], file: Path, folder: Path) -> str:
    """Returns a variable's value, with a file of this test where it names one of the container's."""
    if variable["name"] == "LONGVIDEO_SETTINGS_FILE":
        return str(file)
    if variable["name"].endswith("_FILE"):
        secret = folder / variable["name"]
        known = {"LONGVIDEO_BROKER_URL_FILE": "redis://redis/0", "LONGVIDEO_OTLP_HEADERS_FILE": "key=secret"}
        secret.write_text(known.get(variable["name"], "a secret"))
        return str(secret)
    return variable["value"]


def _files(pod: Object) -> set[str]:
    """Returns the files of longvideo's that a container sees."""
    (container,) = pod["spec"]["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    found = set()
    for volume in pod["spec"]["volumes"]:
        names = ["settings.toml", "prices.toml"] if "configMap" in volume else ["tls.crt", "tls.key", "ca.crt"]
        if "items" in volume.get("configMap", {}):
            names = [item["path"] for item in volume["configMap"]["items"]]
        for source in volume.get("projected", {}).get("sources", []):
            found |= {f"{paths[volume['name']]}/{item['path']}" for item in source["secret"]["items"]}
        if "configMap" in volume or "secret" in volume:
            found |= {f"{paths[volume['name']]}/{name}" for name in names}
    return found


def _secrets(case: str) -> dict[str, set[str]]:
    """Returns the secrets that a release can count on, and their keys, as the README says to make them."""
    values: dict[str, Any] = values_of(case)
    found = {
        "longvideo-database": {"url"},
        "longvideo-broker": {"url"},
        "longvideo-s3": {"accessKey", "secretKey"},
        "longvideo-models": {"apiKey"},
        "longvideo-collector": {"headers"},
    }
    for named_by_values in (values.get("tls", {}), values.get("api", {}).get("tls", {})):
        if "existingSecret" in named_by_values:
            found[named_by_values["existingSecret"]] = {"tls.crt", "tls.key", "ca.crt"}
    made = {each["spec"]["secretName"]: {"tls.crt", "tls.key", "ca.crt"} for each in of_kind(case, "Certificate")}
    return found | made
