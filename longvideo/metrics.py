"""Every metric there is, as Prometheus scrapes it: the one place that names them.

    python -m longvideo.metrics

prints them as a page. A metric says which processes have it. Whatever is counted, counting never fails and never waits.
No label holds an id, a tenant or anything else that a request brings; what a model server says its model is called is
bounded to MAX_NAMES different names.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

import prometheus_client as prometheus
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from longvideo.errors import BadMedia
from longvideo.usage import Call, Role

Part = Literal["api", "worker", "beat", "caption", "qa"]
PARTS: Final[tuple[Part, ...]] = ("api", "worker", "beat", "caption", "qa")

MAX_NAMES: Final = 50
"""How many different names of models are told apart; further ones are `other`."""

REGISTRY: Final = CollectorRegistry()
"""What all metrics of this process are in."""

# A call of a caption model looks at 128 pictures and takes seconds; one that takes minutes waited.
_CALL_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_RPC_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
_EPISODE_SECONDS = (5, 10, 20, 40, 60, 90, 120, 180, 300, 600, 1200, 3600)
_ROUNDS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 50, 100)
_TASK_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Declared:
    """A metric as it is documented. Of a counter and a histogram, Prometheus sees the name with an ending."""

    name: str
    kind: str
    labels: tuple[str, ...]
    parts: frozenset[Part]
    meaning: str


DECLARED: Final[dict[str, Declared]] = {}
"""All metrics, by name, in the order of the page."""

_MODEL_PARTS: Final[tuple[Part, ...]] = ("worker", "caption", "qa")
_M = TypeVar("_M", prometheus.Counter, prometheus.Gauge, prometheus.Histogram)


def _declare(name: str, kind: str, labels: Sequence[str], parts: Iterable[Part], meaning: str) -> None:
    shown = f"{name}_total" if kind == "counter" else name
    DECLARED[name] = Declared(shown, kind, tuple(labels), frozenset(parts), meaning)


def _counter(name: str, meaning: str, labels: Sequence[str], *parts: Part) -> prometheus.Counter:
    _declare(name, "counter", labels, parts, meaning)
    return prometheus.Counter(name, meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, labels: Sequence[str], *parts: Part) -> prometheus.Gauge:
    _declare(name, "gauge", labels, parts, meaning)
    return prometheus.Gauge(name, meaning, labels, registry=REGISTRY)


def _histogram(
    name: str, meaning: str, labels: Sequence[str], buckets: Sequence[float], *parts: Part
) -> prometheus.Histogram:
    _declare(name, "histogram", labels, parts, meaning)
    return prometheus.Histogram(name, meaning, labels, buckets=buckets, registry=REGISTRY)


INFO = _gauge(
    "longvideo_info", "1, for the version and the part of longvideo that this is.", ("version", "part"), *PARTS
)

MODEL_CALLS = _counter(
    "longvideo_model_calls",
    "Requests to model servers, each attempt one, by how they ended: those of the ledger.",
    ("role", "model", "pool", "outcome"),
    *_MODEL_PARTS,
)
MODEL_CALL_SECONDS = _histogram(
    "longvideo_model_call_seconds",
    "How long requests to model servers took, from sending the request to having read the answer.",
    ("role", "model", "pool"),
    _CALL_SECONDS,
    *_MODEL_PARTS,
)
MODEL_TOKENS = _counter(
    "longvideo_model_tokens",
    "Tokens as the model servers counted them: `prompt`, of which some are `cached`, and `completion`.",
    ("role", "model", "pool", "kind"),
    *_MODEL_PARTS,
)
MODEL_IMAGES = _counter(
    "longvideo_model_images",
    "Images sent to model servers.",
    ("role", "model", "pool"),
    *_MODEL_PARTS,
)
MODEL_CALLS_IN_FLIGHT = _gauge(
    "longvideo_model_calls_in_flight",
    "Answers of models that are waited for now, pauses between attempts included: what there is to do for a pool, also "
    "when none of its servers is up. Sum it over the processes.",
    ("role", "pool"),
    *_MODEL_PARTS,
)
MODEL_ENDPOINT_HEALTHY = _gauge(
    "longvideo_model_endpoint_healthy",
    "1 when the last request to a model server went well, or none was made yet, and 0 when it failed; as this process "
    "sees it.",
    ("role", "pool", "endpoint"),
    *_MODEL_PARTS,
)
EPISODES = _counter(
    "longvideo_episodes",
    "Episodes that ended, by their ending. The API ends those that nobody works on when they are cancelled.",
    ("ending",),
    "api",
    "worker",
)
EPISODE_SECONDS = _histogram(
    "longvideo_episode_seconds",
    "How long episodes took from when they were first taken up to their end, by their ending.",
    ("ending",),
    _EPISODE_SECONDS,
    "worker",
)
EPISODE_ROUNDS = _histogram(
    "longvideo_episode_rounds",
    "How many rounds episodes had at their end, by their ending.",
    ("ending",),
    _ROUNDS,
    "worker",
)
CAPTIONS = _counter(
    "longvideo_captions",
    "Captions asked for, by the level of the segment and whether they were `cached`, `made` or neither (`failed`).",
    ("level", "result"),
    "caption",
)
FRAMES = _counter(
    "longvideo_frames",
    "Frames shown to models, by whether they were `read` from the video or still in `memory`.",
    ("source",),
    "caption",
    "qa",
)
MEDIA_TASKS = _counter(
    "longvideo_media_tasks",
    "Processes that read a video, by what they did (`index`, `frames`) and how that ended: `ok`, `given_up`, or the "
    "reason of what was wrong with the video.",
    ("task", "outcome"),
    "api",
    "caption",
    "qa",
)
MEDIA_TASK_SECONDS = _histogram(
    "longvideo_media_task_seconds",
    "How long such a process took, its reading from the storage included.",
    ("task",),
    _TASK_SECONDS,
    "api",
    "caption",
    "qa",
)
MEDIA_BYTES = _counter(
    "longvideo_media_read_bytes",
    "Bytes of videos that such processes were given.",
    ("task",),
    "api",
    "caption",
    "qa",
)
RPCS = _counter(
    "longvideo_rpcs",
    "Calls of this process's own services, by how they ended.",
    ("service", "method", "code"),
    "api",
    "caption",
    "qa",
)
RPC_SECONDS = _histogram(
    "longvideo_rpc_seconds",
    "How long such calls took; a stream lasts as long as it is read.",
    ("service", "method"),
    _RPC_SECONDS,
    "api",
    "caption",
    "qa",
)
BEAT_MESSAGES = _counter(
    "longvideo_beat_messages",
    "Messages that the clock had to send, by whether they were `sent`, `held` while nobody reads the earlier ones, or "
    "`failed` for want of a broker.",
    ("message", "result"),
    "beat",
)


class Backlog(NamedTuple):
    """The episodes of one priority that are not at their end, and how many seconds the oldest one waits."""

    priority: str
    waiting: int
    running: int
    oldest_seconds: float


class _Backlogs(Collector):
    """Asks the database how much there is to do when somebody wants to know, at most every few seconds.

    Whoever scrapes waits for the database only for a moment, and what is known is told only while it is new.
    """

    _EVERY, _NEW, _WAIT = 5.0, 60.0, 2.0

    def __init__(self) -> None:
        self.source: Callable[[], Sequence[Backlog]] | None = None
        self._known: tuple[float, Sequence[Backlog]] = (float("-inf"), ())
        self._asking = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yields the gauges."""
        families = [
            GaugeMetricFamily(name, DECLARED[name].meaning, labels=DECLARED[name].labels) for name in _BACKLOG_NAMES
        ]
        known = self._recent()
        for backlog in known:
            for family, value in zip(families, backlog[1:], strict=True):
                family.add_metric([backlog.priority], value)
        yield from families

    def _recent(self) -> Sequence[Backlog]:
        source, (when, _) = self.source, self._known
        if source is not None and time.monotonic() > when + self._EVERY:
            asking = threading.Thread(target=self._ask, args=(source,), name="backlog", daemon=True)
            asking.start()
            asking.join(self._WAIT)
        when, known = self._known
        return known if time.monotonic() < when + self._NEW else ()

    def _ask(self, source: Callable[[], Sequence[Backlog]]) -> None:
        if self._asking.acquire(blocking=False):
            try:
                # Whatever is wrong with the database is told elsewhere.
                with contextlib.suppress(Exception):
                    self._known = (time.monotonic(), source())
            finally:
                self._asking.release()


_BACKLOG_NAMES: Final = (
    "longvideo_episodes_waiting",
    "longvideo_episodes_running",
    "longvideo_oldest_waiting_episode_seconds",
)
_SAME = "Every process of the API tells the same, out of the database: take the `max` over them, never the sum."
for _name, _meaning in zip(
    _BACKLOG_NAMES,
    (
        f"Episodes that nobody works on now, those that wait for models among them. {_SAME}",
        f"Episodes that a worker has. {_SAME}",
        f"How long ago the oldest of the waiting episodes was accepted; 0 when none waits. {_SAME}",
    ),
    strict=True,
):
    _declare(_name, "gauge", ("priority",), ("api",), _meaning)
BACKLOGS: Final = _Backlogs()
REGISTRY.register(BACKLOGS)


class _Names:
    """Tells the first names apart, and calls all others `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, name: str) -> str:
        """Returns the name, or `other`."""
        if name not in self._seen:
            if len(self._seen) >= self._limit:
                return "other"
            self._seen.add(name)
        return name


_model_name = _Names(MAX_NAMES)


def count_calls(calls: Iterable[Call]) -> None:
    """Counts model calls, once, when it is known how they ended: whoever made them does it."""
    for call in calls:
        labels = (call.role, _model_name(call.model), call.pool)
        MODEL_CALLS.labels(*labels, call.outcome).inc()
        MODEL_CALL_SECONDS.labels(*labels).observe(call.seconds)
        MODEL_IMAGES.labels(*labels).inc(call.images)
        for kind, count in (
            ("prompt", call.prompt_tokens),
            ("cached", call.cached_tokens),
            ("completion", call.completion_tokens),
        ):
            MODEL_TOKENS.labels(*labels, kind).inc(count)


@contextlib.contextmanager
def media_task(task: str, bytes_read: Callable[[], int]) -> Iterator[None]:
    """Counts a process that reads a video within, by how it ends, and what it was given."""
    outcome, started = "given_up", time.monotonic()
    try:
        yield
        outcome = "ok"
    except BadMedia as error:
        outcome = error.reason.lower()
        raise
    except ValueError:
        outcome = "media_crashed"
        raise
    finally:
        MEDIA_TASKS.labels(task, outcome).inc()
        MEDIA_TASK_SECONDS.labels(task).observe(time.monotonic() - started)
        MEDIA_BYTES.labels(task).inc(bytes_read())


class Flight:
    """A call of a model that is waited for. `at` says which pool it is at now."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._pool: str | None = None

    def at(self, pool: str) -> None:
        """Notes that the call is at a server of this pool."""
        if pool != self._pool:
            MODEL_CALLS_IN_FLIGHT.labels(self._role, pool).inc()
            self.end()
            self._pool = pool

    def end(self) -> None:
        """Notes that nobody waits any more, or not here."""
        if self._pool is not None:
            MODEL_CALLS_IN_FLIGHT.labels(self._role, self._pool).dec()
            self._pool = None


if __name__ == "__main__":
    sys.modules["longvideo.metrics"] = sys.modules[__name__]  # or else the page would be that of a second copy
    from longvideo.metrics_page import page

    sys.stdout.write(page())
