"""The chart as Helm's own engine renders it, for every case of values in its `ci` folder."""

from __future__ import annotations

import copy
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "longvideo"
CASES = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))
PODS = {"Deployment", "Job", "Pod"}

Object = dict[str, Any]


@functools.cache
def chart() -> helm.Chart:
    """Returns the chart, loaded once."""
    return helm.Chart.load(CHART)


def values_of(case: str) -> dict[str, Any]:
    """Returns the values of a case, to be changed as one likes."""
    return copy.deepcopy(_read(case))


@functools.cache
def _read(case: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{case}.yaml").read_text("utf-8"))
    return read


def texts(values: dict[str, Any]) -> dict[str, str]:
    """Returns what each template becomes."""
    return chart().render(values, name="demo", namespace="video")


def objects(values: dict[str, Any]) -> tuple[Object, ...]:
    """Returns the objects that these values make."""
    found = texts(values)
    return tuple(
        each
        for name, text in sorted(found.items())
        if not name.endswith("NOTES.txt")
        for each in yaml.safe_load_all(text)
        if each
    )


@functools.cache
def rendered(case: str) -> tuple[Object, ...]:
    """Returns the objects of a case."""
    return objects(values_of(case))


def of_kind(case: str, *kinds: str) -> list[Object]:
    """Returns the objects of these kinds."""
    return [each for each in rendered(case) if each["kind"] in kinds]


def named(case: str, kind: str, name: str) -> Object:
    """Returns one object."""
    (found,) = (each for each in of_kind(case, kind) if each["metadata"]["name"] == name)
    return found


def component(thing: Object) -> str:
    """Returns the component that an object belongs to."""
    return str(thing["metadata"]["labels"]["app.kubernetes.io/component"])


def templates(case: str) -> Iterator[tuple[str, Object]]:
    """Yields the component and the pod template of each Deployment and Job, and each pod that is one by itself."""
    for each in of_kind(case, *PODS):
        yield component(each), each if each["kind"] == "Pod" else each["spec"]["template"]


def settings_of(case: str) -> dict[str, Any]:
    """Returns what the settings file holds."""
    (config,) = (each for each in of_kind(case, "ConfigMap") if "settings.toml" in each["data"])
    return tomllib.loads(config["data"]["settings.toml"])


def selects(labels: dict[str, str], wanted: dict[str, str]) -> bool:
    """Tells whether a selector's labels are all among these."""
    return wanted.items() <= labels.items()
