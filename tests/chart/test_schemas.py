"""What Kubernetes itself, KServe, KEDA and the Prometheus operator would say of the objects' form."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.chart.rendering import CASES, REPOSITORY, rendered

KINDS = {
    "inferenceservices",
    "llminferenceservices",
    "localmodelcaches",
    "localmodelnodegroups",
    "servingruntimes",
    "scaledobjects",
    "triggerauthentications",
    "podmonitors",
    "prometheusrules",
}
DEFINED = ("serving.kserve.io/", "keda.sh/", "monitoring.coreos.com/")
CUSTOM = (*DEFINED, "cert-manager.io/", "gateway.networking.k8s.io/")


@pytest.mark.parametrize("version", ["1.32", "1.34", "1.37"])
@pytest.mark.parametrize("case", CASES)
def test_objects_fit_kubernetes(case: str, version: str) -> None:
    """Every object of Kubernetes' own fits the schemas of these versions, and has no field that they do not know."""
    for each in rendered(case):
        if not each["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("qwen")])
def test_custom_resources_fit_their_definitions(case: str) -> None:
    """Every object of KServe, KEDA and the Prometheus operator fits its definition, and has no field unknown to it."""
    schemas = _definitions()
    checked = 0
    for each in rendered(case):
        if each["apiVersion"].startswith(DEFINED):
            # The definitions are huge, and not what is in question.
            jsonschema.Draft202012Validator(schemas[each["apiVersion"], each["kind"]]).validate(each)
            checked += 1
    assert checked


@functools.cache
def _definitions() -> dict[tuple[str, str], Any]:
    named = os.environ.get("LONGVIDEO_CRDS")
    near = sorted(REPOSITORY.parent.glob("*/crds")) + sorted(REPOSITORY.parents[1].glob("*/crds"))
    folders = [Path(named)] if named else near
    if not folders:
        pytest.skip("no folder with the definitions of custom resources was found; set LONGVIDEO_CRDS to it")
    schemas = {}
    for path in sorted(folders[0].rglob("*.yaml")):
        if path.stem.rpartition("_")[2] not in KINDS:
            continue
        text = path.read_text("utf-8")
        definition = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        for version in definition["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            schemas[f"{definition['group']}/{version['name']}", definition["names"]["kind"]] = schema
    return schemas


def _strict(schema: Any) -> Any:
    """Returns a schema that refuses the fields which a server would drop without a word."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(each) for key, each in schema.items()}
    properties = isinstance(schema.get("properties"), dict) and "type" in schema
    if properties and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found["additionalProperties"] = False
    return found
