"""`longvideo cluster status`: the models and the parts of a release, in one table."""

from __future__ import annotations

from typing import Any

from client import words
from client.cluster.access import Kubernetes
from client.cluster.queues import Queue, queue
from client.cluster.release import Model, Part, Release
from client.screen import Screen

_COLUMNS = ("what", "pool", "replicas", "ready", "scaling", "queue", "URL")


def gather(kubernetes: Kubernetes, release: Release) -> dict[str, Any]:
    """Returns the release as a document."""
    return {
        "release": release.name,
        "namespace": release.namespace,
        "kubernetes": kubernetes.version,
        "models": [_model(model, queue(kubernetes, model)) for model in release.models],
        "external_models": _external(release),
        "parts": [_part(part) for part in release.parts],
    }


def _model(model: Model, found: Queue) -> dict[str, Any]:
    return {
        "model": model.key,
        "pool": model.pool,
        "name": model.name,
        "kind": model.object["kind"],
        "ready": not model.trouble,
        "message": model.trouble,
        "replicas": model.part.wanted if model.part else 0,
        "ready_replicas": model.part.ready if model.part else 0,
        **_scaling(model.scaler),
        "requests_running": None if found.unknown else found.running,
        "requests_waiting": None if found.unknown else found.waiting,
        "queue_unknown": found.unknown,
        "url": model.url,
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "part": part.name,
        "name": part.deployment["metadata"]["name"],
        "ready": part.ready >= part.wanted,
        "replicas": part.wanted,
        "ready_replicas": part.ready,
        **_scaling(part.scaler),
    }


def _scaling(scaler: Any) -> dict[str, Any]:
    return {
        "scaled_by": "keda" if scaler else "",
        "min_replicas": scaler.least if scaler else None,
        "max_replicas": scaler.most if scaler else None,
    }


def _external(release: Release) -> list[dict[str, Any]]:
    """Returns the model servers that the settings name, and that are nothing of KServe's."""
    served = {model.name for model in release.models} | release.expected
    return [
        {
            "model": each.get("model", ""),
            "pool": each.get("pool", ""),
            "roles": sorted(each["roles"]),
            "url": each["url"],
        }
        for each in release.settings.get("endpoints", [])
        if not any(f"/{name}-predictor." in each["url"] or f"/{name}/" in each["url"] for name in served)
    ]


def show(screen: Screen, found: dict[str, Any]) -> None:
    """Writes the document for a person."""
    screen.line("Release", f"{found['release']} in {found['namespace']}, Kubernetes {found['kubernetes']}")
    screen.plain()
    rows = [_model_row(each) for each in found["models"]]
    rows += [[each["model"] or ", ".join(each["roles"]), each["pool"], "", "", "", "", each["url"]]
             for each in found["external_models"]]  # fmt: skip
    rows += [[each["part"], "", *_counts(each), _scaled(each), "", ""] for each in found["parts"]]
    screen.table(_COLUMNS, rows)
    notes = [f"{each['name']} is not ready: {each['message']}" for each in found["models"] if not each["ready"]]
    if blind := [each for each in found["models"] if each["queue_unknown"]]:
        names = ", ".join(each["name"] for each in blind)
        notes.append(
            f"How much these have to do is not known: {names} ({blind[0]['queue_unknown']}). Network policies may keep "
            "the API server from the models' port: networkPolicy.monitoring lets it in. The dashboards show it too."
        )
    for note in notes:
        screen.plain()
        screen.plain(words.one_line(note), "yellow")


def _model_row(each: dict[str, Any]) -> list[str]:
    running, waiting = each["requests_running"], each["requests_waiting"]
    load = "?" if running is None else str(Queue(running, waiting))
    return [each["model"], each["pool"], *_counts(each), _scaled(each), load, each["url"]]


def _counts(each: dict[str, Any]) -> tuple[str, str]:
    ready = "yes" if each["ready"] else "no"
    return f"{each['ready_replicas']} of {each['replicas']}", ready


def _scaled(each: dict[str, Any]) -> str:
    return f"KEDA, {each['min_replicas']} to {each['max_replicas']}" if each["scaled_by"] else "fixed"
