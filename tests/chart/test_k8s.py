"""What lies in `k8s`: that it builds, fits Kubernetes, and is what the chart's values count on."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.chart.rendering import REPOSITORY, Object, objects, selects

K8S = REPOSITORY / "k8s"
KUBECTL = shutil.which("kubectl", path=sysconfig.get_path("scripts")) or "kubectl"
FOLDERS = sorted(str(path.parent.relative_to(K8S)) for path in K8S.rglob("kustomization.yaml"))
TRIALS = ["dev", "dev/persistent", "dev/tls"]
CUSTOM = ("nfd.k8s-sigs.io/", "cert-manager.io/")
DIGEST = "sha256:" + "3" * 64


def build(folder: Path) -> list[Object]:
    """Returns what `kubectl apply -k` would send."""
    done = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@functools.cache
def built(folder: str) -> tuple[Object, ...]:
    """Returns the objects of a folder of `k8s`."""
    return tuple(build(K8S / folder))


def of_kind(folder: str, kind: str) -> dict[str, Object]:
    """Returns a folder's objects of a kind, by name."""
    return {each["metadata"]["name"]: each for each in built(folder) if each["kind"] == kind}


@functools.cache
def trial(*files: str) -> tuple[Object, ...]:
    """Returns what the chart makes of these values files of `k8s`, one after the other."""
    values: dict[str, Any] = {}
    for file in files:
        values |= yaml.safe_load((K8S / file).read_text("utf-8"))
    return objects(values)


@pytest.mark.parametrize("version", ["1.32", "1.34", "1.37"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_objects_fit_kubernetes(folder: str, version: str) -> None:
    """Every folder builds, and its objects fit the schemas of these versions with no field that they do not know."""
    assert built(folder)
    for each in built(folder):
        if not each["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(each, version, strict=True)


def test_the_namespace_is_restricted() -> None:
    """Kubernetes refuses every pod of the namespace that does not pass the restricted standard."""
    (namespace,) = built("namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name in ("ResourceQuota", "LimitRange"):
        (each,) = of_kind("cluster", name).values()
        assert each["metadata"]["namespace"] == namespace["metadata"]["name"]


@pytest.mark.parametrize("folder", TRIALS)
def test_the_stores_pass_the_restricted_standard(folder: str) -> None:
    """The trial's pods run in the namespace as it is: no root, no privileges, nothing written outside volumes."""
    for name, spec in _pods(folder):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {mount["name"] for mount in container["volumeMounts"]} <= {each["name"] for each in spec["volumes"]}
            assert "memory" in container["resources"]["limits"]


def test_images_have_versions() -> None:
    """Each image says where it comes from and which version it is."""
    for image in _images(built("dev")):
        assert re.fullmatch(r"docker\.io/[a-z/]+:v?\d+\.\d+[a-z0-9.-]*", image)


def test_images_can_be_pinned(tmp_path: Path) -> None:
    """An overlay of the user's gives each image a digest, and another registry."""
    shutil.copytree(K8S / "dev", tmp_path / "dev")
    names = {image.rpartition(":")[0] for image in _images(built("dev"))}
    images = [
        {"name": name, "newName": name.replace("docker.io", "mirror.internal"), "digest": DIGEST} for name in names
    ]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["../dev"], "images": images}))
    pinned = _images(build(tmp_path / "own"))
    assert pinned == {f"{name.replace('docker.io', 'mirror.internal')}@{DIGEST}" for name in names}


@pytest.mark.parametrize("folder", TRIALS)
def test_services_find_their_pods(folder: str) -> None:
    """Each store's Service selects that store's pod, and leads to a port that it opens."""
    pods = {name: each["spec"]["template"] for name, each in of_kind(folder, "Deployment").items()}
    for name, service in of_kind(folder, "Service").items():
        found = [pod for pod, each in pods.items() if selects(each["metadata"]["labels"], service["spec"]["selector"])]
        assert found == [name]
        (port,) = service["spec"]["ports"]
        (opened,) = pods[name]["spec"]["containers"][0]["ports"]
        assert (port["targetPort"], port["port"]) == (opened["name"], opened["containerPort"])


def test_the_chart_reads_the_secrets_that_the_trial_makes() -> None:
    """The secrets that the chart's values for a trial name exist, with the keys that its pods read."""
    made = {name: set(each["data"]) for name, each in of_kind("dev", "Secret").items()}
    read: dict[str, set[str]] = {}
    for each in trial("dev/values.yaml"):
        for volume in each.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", []):
            assert "secret" not in volume
            for source in volume.get("projected", {}).get("sources", []):
                keys = {item["key"] for item in source["secret"]["items"]}
                read[source["secret"]["name"]] = read.get(source["secret"]["name"], set()) | keys
    assert read == {
        "longvideo-database": {"url"},
        "longvideo-broker": {"url"},
        "longvideo-s3": {"accessKey", "secretKey"},
    }
    for name, keys in read.items():
        assert keys <= made[name]
    for _, spec in _pods("dev"):
        for variable in spec["containers"][0].get("env", []):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["key"] in made[reference["name"]]


def test_throw_away_secrets_say_so() -> None:
    """Nobody takes the secrets of the trial for real ones: each is labelled, and each value says it."""
    for each in of_kind("dev", "Secret").values():
        assert each["metadata"]["labels"]["longvideo/throw-away"] == "true"
    text = (K8S / "dev" / "stores" / "kustomization.yaml").read_text("utf-8")
    for literal in re.findall(r"- ((?:url|password|accessKey|secretKey)=.*)", text):
        assert "throw-away" in literal


def test_addresses_are_the_stores() -> None:
    """The database, the broker and the bucket are looked for at the trial's Services, and clients at localhost."""
    services = {f"{name}:{each['spec']['ports'][0]['port']}" for name, each in of_kind("dev", "Service").items()}
    text = (K8S / "dev" / "stores" / "kustomization.yaml").read_text("utf-8")
    named = set(re.findall(r"@([a-z0-9-]+:\d+)/", text))
    url = yaml.safe_load((K8S / "dev" / "values.yaml").read_text("utf-8"))["objectStore"]["url"]
    found = re.fullmatch(
        r"s3://longvideo\?endpoint=http://(.+)&region=us-east-1&public_endpoint=http://localhost:9000", url
    )
    assert found is not None
    assert named | {found[1]} == services
    _, s3 = next(each for each in _pods("dev") if each[0] == "longvideo-dev-s3")
    assert s3["initContainers"][0]["command"][-1] == "/data/buckets/longvideo"
    assert s3["containers"][0]["args"][-1] == "/data/buckets"
    assert "us-east-1" in s3["containers"][0]["args"]


def test_policies_let_the_trial_through() -> None:
    """The chart's pods may reach each store, and the stores let in the chart's pods, and nobody else."""
    pods = {name: each["spec"]["template"]["metadata"]["labels"] for name, each in of_kind("dev", "Deployment").items()}
    (policy,) = of_kind("dev", "NetworkPolicy").values()
    assert all(selects(labels, policy["spec"]["podSelector"]["matchLabels"]) for labels in pods.values())
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    ports = {port["port"] for port in rule["ports"]}
    reached: set[tuple[str, str]] = set()
    for each in trial("dev/values.yaml"):
        if each["kind"] != "NetworkPolicy":
            continue
        caller = each["spec"]["podSelector"]["matchLabels"]
        for egress in each["spec"]["egress"]:
            for to in egress.get("to", []):
                wanted = to.get("podSelector", {}).get("matchLabels", {})
                for name in (name for name, labels in pods.items() if wanted and selects(labels, wanted)):
                    assert selects(caller, peer["podSelector"]["matchLabels"])
                    assert {port["port"] for port in egress["ports"]} <= ports
                    reached.add((caller["app.kubernetes.io/component"], name.removeprefix("longvideo-dev-")))
    assert reached == {
        *((caller, store) for caller in ("api", "worker", "test") for store in ("postgres", "valkey", "s3")),
        *(("beat", "valkey"), ("migrations", "postgres"), ("caption", "s3"), ("qa", "s3")),
    }


def test_the_trial_with_tls_has_an_issuer() -> None:
    """With the second values file every connection is encrypted, by certificates of the overlay's issuer."""
    certificates = [each for each in trial("dev/values.yaml", "dev/tls/values.yaml") if each["kind"] == "Certificate"]
    assert certificates
    for each in certificates:
        assert each["spec"]["issuerRef"]["name"] in of_kind("dev/tls", "Issuer")
    authority = of_kind("dev/tls", "Issuer")["longvideo-dev"]["spec"]["ca"]["secretName"]
    assert authority in {each["spec"]["secretName"] for each in of_kind("dev/tls", "Certificate").values()}


def test_volumes_are_claimed() -> None:
    """With the overlay for volumes what must outlive a pod lies on claims that the overlay makes."""
    claims = of_kind("dev/persistent", "PersistentVolumeClaim")
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for _, spec in _pods("dev/persistent")
        for volume in spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == set(claims) == {"longvideo-dev-postgres", "longvideo-dev-s3"}


def test_what_fetches_weights_passes_the_restricted_standard() -> None:
    """The patch of KServe's own container lets Kubernetes admit the models' pods into the namespace."""
    patch = yaml.safe_load((K8S / "prerequisites" / "storage-initializer.yaml").read_text("utf-8"))
    context = patch["spec"]["container"]["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["runAsNonRoot"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_prometheus_takes_up_what_the_release_brings() -> None:
    """Prometheus looks at monitors and rules of other releases too, and keeps the exemplars that lead to traces."""
    prometheus = yaml.safe_load((K8S / "prerequisites" / "monitoring.yaml").read_text("utf-8"))["prometheus"]
    spec = prometheus["prometheusSpec"]
    assert [spec[f"{kind}SelectorNilUsesHelmValues"] for kind in ("podMonitor", "serviceMonitor", "rule")] == [
        False
    ] * 3
    assert spec["enableFeatures"] == ["exemplar-storage"]


def test_pools_are_the_nodes_that_are_labelled() -> None:
    """The chart's pools select the labels that the rule for nodes sets, and put up with its taints."""
    (rule,) = built("pools")
    labels = {each["name"]: each["labels"] for each in rule["spec"]["rules"]}
    values = yaml.safe_load((K8S / "pools" / "values.yaml").read_text("utf-8"))
    assert {name: pool["nodeSelector"] for name, pool in values["pools"].items()} == labels
    defaults = yaml.safe_load((REPOSITORY / "charts" / "longvideo" / "values.yaml").read_text("utf-8"))["poolDefaults"]
    (tolerated,) = defaults["tolerations"]
    for each in rule["spec"]["rules"]:
        (taint,) = each["taints"]
        assert (tolerated["key"], tolerated["effect"]) == (taint["key"], taint["effect"])


def _pods(folder: str) -> Iterator[tuple[str, Object]]:
    for name, each in of_kind(folder, "Deployment").items():
        yield name, each["spec"]["template"]["spec"]


def _images(found: tuple[Object, ...] | list[Object]) -> set[str]:
    return {
        container["image"]
        for each in found
        if each["kind"] == "Deployment"
        for container in (
            *each["spec"]["template"]["spec"]["containers"],
            *each["spec"]["template"]["spec"].get("initContainers", []),
        )
    }
