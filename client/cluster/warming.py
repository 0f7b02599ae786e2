"""`longvideo cluster warm`: sees to it that models answer before the work comes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from client.cluster import services
from client.cluster.access import Kubernetes
from client.cluster.release import KEDA, Model, Release, find
from client.screen import Screen
from longvideo.errors import DeadlineExceeded, NotFound
from longvideo.prompts import load_pack
from longvideo.settings import Settings
from longvideo.usage import ROLES

_PAUSED: Final = "autoscaling.keda.sh/paused-replicas"
_LOOK_SECONDS: Final = 2.0


def wake(kubernetes: Kubernetes, release: Release, screen: Screen, wanted: Sequence[str], seconds: float) -> None:
    """Wakes models that KEDA has scaled to zero, and waits until all that are wanted are ready.

    KEDA is told to keep one replica while we wait, and then to go on by its own rules. Raises NotFound for a model that
    the release does not have, and DeadlineExceeded.
    """
    chosen = [model for model in release.models if not wanted or model.key in wanted]
    if missing := sorted(set(wanted) - {model.key for model in chosen}):
        known = ", ".join(sorted({model.key for model in release.models})) or "none"
        raise NotFound(f"The release {release.name} has no model {missing[0]} that KServe serves; it has: {known}.")
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        for model in chosen:
            if model.scaler and model.part and model.part.wanted == 0:
                stack.enter_context(_kept_awake(kubernetes, model))
                screen.line("Wake", f"{model.key} in {model.pool}: from zero")
        waiting = {model.name for model in chosen}
        start = time.monotonic()

        def look() -> str:
            for model in find(kubernetes, release.name).models:
                if model.name in waiting and not model.trouble and model.part and model.part.ready:
                    waiting.remove(model.name)
                    screen.line("Ready", f"{model.key} in {model.pool}, after {time.monotonic() - start:.0f} s")
            return ", ".join(sorted(waiting))

        _until(look, screen, deadline)


@contextlib.contextmanager
def _kept_awake(kubernetes: Kubernetes, model: Model) -> Iterator[None]:
    assert model.scaler is not None
    path = f"{KEDA}/namespaces/{kubernetes.namespace}/scaledobjects/{model.scaler.name}"
    kubernetes.patch(path, {"metadata": {"annotations": {_PAUSED: "1"}}})
    try:
        yield
    finally:
        kubernetes.patch(path, {"metadata": {"annotations": {_PAUSED: None}}})


def ask(settings: Settings, screen: Screen, wanted: Sequence[str], seconds: float) -> None:
    """Sends every model server that the settings name a real request for each of its roles, until it answers.

    `wanted` are names of models; empty means all. Raises NotFound for one that no endpoint has, and DeadlineExceeded.
    """
    pack = load_pack(settings.prompt_pack)
    waiting = [
        (role, endpoint)
        for role in ROLES
        for endpoint in settings.endpoints
        if role in endpoint.roles and (not wanted or endpoint.model in wanted)
    ]
    if missing := sorted(set(wanted) - {endpoint.model for _, endpoint in waiting}):
        known = ", ".join(sorted({endpoint.model for endpoint in settings.endpoints})) or "none"
        raise NotFound(f"No endpoint of the settings has a model {missing[0]}; they have: {known}.")
    deadline = time.monotonic() + seconds
    last = ""

    def look() -> str:
        nonlocal last
        for role, endpoint in list(waiting):
            left = max(1.0, deadline - time.monotonic())
            found = services.answer(endpoint, role, pack, left)
            if found.state == "ok":
                waiting.remove((role, endpoint))
                screen.line("Ready", found.said)
            else:
                last = found.said
        return f"{len(waiting)} to go; {last}" if waiting else ""

    _until(look, screen, deadline)


def _until(look: Callable[[], str], screen: Screen, deadline: float) -> None:
    """Looks again and again until there is nothing left to wait for."""
    with screen.waiting() as tell:
        while left := look():
            if time.monotonic() > deadline:
                raise DeadlineExceeded(
                    f"Not ready in time: {left}. Allow more with --timeout, or see longvideo cluster doctor."
                )
            tell(f"waiting for {left}")
            time.sleep(_LOOK_SECONDS)
