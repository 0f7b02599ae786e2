"""How many replicas of each model there were, as Prometheus saw it.

The recording rule `longvideo:model_replicas:count` counts the replicas of each `model` and `pool`, those that are still
loading too, with the `gpus` of each. A look at it is taken to hold until the next one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx2

from longvideo.errors import Unavailable
from orchestrator.costs.sharing import Capacities, Capacity

SERIES: Final = "longvideo:model_replicas:count"
STEP_SECONDS: Final = 60
"""How far apart looks are; further where the period is so long that there would be more than `_MOST_LOOKS`."""

_MOST_LOOKS: Final = 50_000
_LOOKS_AT_ONCE: Final = 10_000  # Prometheus gives 11,000
_SECONDS: Final = 30.0


def step_of(since: float, until: float) -> float:
    """Returns how far apart looks at a period are, in seconds."""
    return STEP_SECONDS * max(1, math.ceil((until - since) / STEP_SECONDS / _MOST_LOOKS))


def capacities(url: str, namespace: str, since: float, until: float, check: Callable[[], object]) -> Capacities:
    """Returns the replicas of a period, by model and pool. Raises Unavailable, and what `check` raises.

    `url` is that of a Prometheus server, `namespace` that of the models, or empty for all that it knows. `check` is
    called now and then.
    """
    series = f'{SERIES}{{namespace="{namespace}"}}' if namespace else SERIES
    step = step_of(since, until)
    looks: dict[tuple[str, str], dict[float, tuple[float, float]]] = {}
    count = math.ceil((until - since) / step)
    with httpx2.Client(timeout=_SECONDS) as client:
        for first in range(0, count, _LOOKS_AT_ONCE):
            check()
            last = min(count, first + _LOOKS_AT_ONCE) - 1
            query = {"query": series, "start": since + first * step, "end": since + last * step, "step": step}
            for model, pool, gpus, at, replicas in _samples(_answer(client, url, query)):
                found = looks.setdefault((model, pool), {})
                before = found.get(at, (0.0, 0.0))
                found[at] = (before[0] + replicas, before[1] + replicas * gpus)
    return {key: _changes(found, step) for key, found in looks.items()}


def _answer(client: httpx2.Client, url: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        response = client.get(f"{url.rstrip('/')}/api/v1/query_range", params=query)
        said = response.json()
        if said.get("status") != "success":
            raise Unavailable(f"Prometheus answered {response.status_code}: {str(said.get('error', ''))[:300]}")
        found: list[dict[str, Any]] = said["data"]["result"]
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unavailable(f"Prometheus does not answer: {error}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Unavailable(f"Prometheus answered {response.status_code}, in words that are not its own") from None
    return found


def _samples(series: list[dict[str, Any]]) -> Iterator[tuple[str, str, float, float, float]]:
    """Yields model, pool, GPUs of a replica, moment, and number of replicas."""
    try:
        for one in series:
            labels = one["metric"]
            model, pool, gpus = labels.get("model", ""), labels.get("pool", ""), float(labels.get("gpus") or 0)
            for at, value in one["values"]:
                yield model, pool, gpus, float(at), float(value)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Unavailable("Prometheus answered in words that are not its own") from None


def _changes(looks: dict[float, tuple[float, float]], step: float) -> list[Capacity]:
    """Returns the moments at which something changed. After a look without a successor there is nothing."""
    found: list[Capacity] = []
    until = -math.inf
    for at in sorted(looks):
        if at > until + step / 2 and found:
            found.append(Capacity(until, 0.0, 0.0))
        if not found or looks[at] != found[-1][1:]:
            found.append(Capacity(at, *looks[at]))
        until = at + step
    return [*found, Capacity(until, 0.0, 0.0)]
