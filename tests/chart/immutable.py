"""What Kubernetes and KServe do not let an upgrade change, as a release's chart renders it.

    python -m tests.chart.immutable charts/longvideo > tests/chart/released.json

Run it on the chart of each release, once it is made: the upgrade to the next one is checked against that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

from tests.chart.rendering import Object

FIELDS = {
    "Deployment": ["spec.selector"],
    "StatefulSet": ["spec.selector", "spec.serviceName", "spec.volumeClaimTemplates"],
    "Service": ["spec.clusterIP"],
    "PersistentVolumeClaim": ["spec"],
    "PriorityClass": ["value"],
    "InferenceService": ["metadata.annotations.serving\\.kserve\\.io/deploymentMode"],
    "LocalModelCache": ["spec.sourceModelUri"],
}
"""The fields of each kind. A Service's absence of a field is one too: a headless one cannot get an address later."""


def facts(objects: Iterable[Object]) -> dict[str, dict[str, Any]]:
    """Returns the fields of each object that has such, by its kind and name."""
    return {
        f"{each['kind']}/{each['metadata']['name']}": {path: _at(each, path) for path in FIELDS[each["kind"]]}
        for each in sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))
        if each["kind"] in FIELDS
    }


def recorded(folder: Path) -> dict[str, Any]:
    """Returns the version of a chart, and for each of its cases the values and the facts."""
    chart = helm.Chart.load(folder)
    cases = {}
    for path in sorted((folder / "ci").glob("*.yaml")):
        values = yaml.safe_load(path.read_text("utf-8"))
        texts = chart.render(values, name="demo", namespace="video")
        manifests = (text for name, text in texts.items() if not name.endswith("NOTES.txt"))
        objects = [each for text in manifests for each in yaml.safe_load_all(text) if each]
        cases[path.stem] = {"values": values, "facts": facts(objects)}
    return {"version": yaml.safe_load((folder / "Chart.yaml").read_text("utf-8"))["version"], "cases": cases}


def _at(thing: Any, path: str) -> Any:
    for key in path.replace("\\.", "\0").split("."):
        thing = thing.get(key.replace("\0", "."), None) if isinstance(thing, dict) else None
    return thing


if __name__ == "__main__":
    print(json.dumps(recorded(Path(sys.argv[1])), indent=1, sort_keys=True))
