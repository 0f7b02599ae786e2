"""Clusters without the internet: one registry for all images, weights from near by, and the page that lists them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import helm_python as helm
import pytest
import yaml

from tests.chart.rendering import CASES, CHART, REPOSITORY, Object, named, objects, of_kind, rendered, texts, values_of

CASE = "qwen3-closed"
REGISTRY = "registry.internal:5000/mirror"
PAGE = (REPOSITORY / "docs" / "offline-clusters.md").read_text("utf-8")


def _images(thing: Any) -> Iterator[str]:
    """Yields every image that is named anywhere in an object."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            if key == "image" and isinstance(value, str):
                yield value
            else:
                yield from _images(value)
    elif isinstance(thing, list):
        for each in thing:
            yield from _images(each)


def _table(mark: str) -> list[list[str]]:
    """Returns the rows of the page's table below a mark."""
    _, _, rest = PAGE.partition(f"<!-- {mark}: tests/chart/test_closed.py -->\n")
    rows = [line.strip("| ").split(" | ") for line in rest.partition("\n\n")[0].splitlines()]
    return rows[2:]


def _profiles(cell: str) -> set[str]:
    return set(re.findall(r"`(.+?)`", cell))


@pytest.mark.parametrize("case", CASES)
def test_every_image_follows_the_registry(case: str) -> None:
    """With imageRegistry, each image of each rendering is in that registry, under its name and version."""
    before = sorted(set(_images(list(rendered(case)))))
    after = sorted(set(_images(list(objects(values_of(case) | {"imageRegistry": REGISTRY})))))
    assert after
    assert all(image.startswith(f"{REGISTRY}/") for image in after)
    assert [image.removeprefix(f"{REGISTRY}/") for image in after] == sorted(
        image.removeprefix(f"{REGISTRY}/").removeprefix("registry.internal/") for image in before
    )


@pytest.mark.parametrize("profile", ["offline", "external", "qwen3", "qwen2.5"])
def test_the_page_lists_the_images(profile: str) -> None:
    """The page names exactly the images that a profile's rendering has."""
    case = {"qwen2.5": "qwen2.5-autoscaled"}.get(profile, profile)
    values = {name: value for name, value in values_of(case).items() if name not in {"image", "serving"}}
    listed = {row[0].strip("`") for row in _table("images") if profile in _profiles(row[1])}
    assert set(_images(list(objects(values)))) == listed


def test_the_page_lists_the_weights() -> None:
    """The page names each model of the chart with its profiles and where its weights are from."""
    models = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["models"]
    listed = {row[0].strip("`"): row for row in _table("weights")}
    assert listed.keys() == models.keys()
    for name, model in models.items():
        assert _profiles(listed[name][1]) == set(model["profiles"])
        assert listed[name][2] == (f"`{model['storageUri']}`" if "storageUri" in model else listed["reasoner"][2])


def test_model_servers_do_not_look_for_the_internet() -> None:
    """Both renderings tell vLLM that it is offline, and to report to nobody."""
    (runtime,) = of_kind("qwen3", "ServingRuntime")
    (service,) = of_kind("qwen3-llm", "LLMInferenceService")
    for container in (*runtime["spec"]["containers"], *service["spec"]["template"]["containers"]):
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert (environment["HF_HUB_OFFLINE"], environment["VLLM_NO_USAGE_STATS"]) == ("1", "1")


def test_nodes_keep_weights_that_come_over_the_network() -> None:
    """Each such source is kept once, on the nodes of all pools that need it; its models say which nodes those are."""
    caches = {each["spec"]["sourceModelUri"]: each["spec"] for each in of_kind(CASE, "LocalModelCache")}
    groups = {each["metadata"]["name"]: each["spec"] for each in of_kind(CASE, "LocalModelNodeGroup")}
    assert set(caches) == {"s3://weights/qwen3-vl-32b"}
    assert set(groups) == {name for cache in caches.values() for name in cache["nodeGroups"]}
    for service in of_kind(CASE, "InferenceService"):
        uri = service["spec"]["predictor"]["model"]["storageUri"]
        group = service["metadata"]["annotations"].get("serving.kserve.io/nodegroup")
        assert (group in caches[uri]["nodeGroups"]) if uri in caches else group is None
        if group:
            (term,) = groups[group]["persistentVolumeSpec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
            selected = {each["key"]: each["values"][0] for each in term["matchExpressions"]}
            assert selected == service["spec"]["predictor"]["nodeSelector"]


def test_pods_have_the_priorities_that_are_made() -> None:
    """Processes go before models; what runs before the classes are there has none."""
    classes = {each["metadata"]["name"]: each["value"] for each in of_kind(CASE, "PriorityClass")}
    assert classes["video-demo-longvideo-processes"] > classes["video-demo-longvideo-models"]
    pods: list[tuple[Object, Object]] = [
        *((each, each["spec"]["template"]["spec"]) for each in of_kind(CASE, "Deployment", "Job")),
        *((each, each["spec"]["predictor"]) for each in of_kind(CASE, "InferenceService")),
    ]
    for each, pod in pods:
        hook = "helm.sh/hook" in each["metadata"].get("annotations", {})
        assert pod.get("priorityClassName") in ({None} if hook else set(classes))
    assert named(CASE, "Deployment", "demo-longvideo-api")["spec"]["template"]["spec"]["priorityClassName"].endswith(
        "processes"
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("imageRegistry",), "https://registry.internal", "imageRegistry"),
        (("models", "vision", "weightsSize"), "", "models.vision.weightsSize is empty"),
        (("pools", "h800", "nodeSelector"), {}, "pools.h800.nodeSelector is empty"),
        (("profile",), "offline", "localModelCache.enabled is true, but the profile offline"),
    ],
)
def test_what_cannot_work_is_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    """A registry with a scheme, weights of unknown size and nodes that are not named are refused with the fix."""
    values = copy.deepcopy(values_of(CASE))
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(helm.HelmError, match=re.escape(message)):
        texts(values)
