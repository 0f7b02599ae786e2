"""Every metric there is, as Prometheus scrapes it: the one place that names them.

    python -m longvideo.metrics

prints them as a page. A metric says which processes have it. Whatever is counted, counting never fails and never waits.
No label holds an id, a tenant or anything else that a request brings; what a model server says its model is called is
bounded to MAX_NAMES different names.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable
from typing import Final, Literal

from longvideo import telemetry
from longvideo.backlogs import Backlogs
from longvideo.cardinality import FirstNames
from longvideo.declared import PARTS, REGISTRY, Part, counter, declare, gauge, histogram
from longvideo.errors import LongVideoError, StorageFull, StorageUnavailable
from longvideo.prices import PriceBook
from longvideo.segments import LEVEL_NAMES
from longvideo.usage import OUTCOMES, Call, Role
from longvideo.v1 import orchestrator_pb2 as pb

MAX_NAMES: Final = 50
"""How many different names of models are told apart; further ones are `other`."""

ENDINGS: Final = tuple(name.removeprefix("ENDING_").lower() for name in pb.Episode.Ending.keys()[1:])
PRIORITIES: Final = ("interactive", "batch")
"""By their rank."""
ACTIONS: Final = ("medium", "low", "video_qa", "repeated", "answer")
TOKEN_KINDS: Final = ("prompt", "cached", "completion")
SHARES: Final = ("opened", "low", "inspected")

# A call of a caption model looks at 128 pictures and takes seconds; one that takes minutes waited.
_CALL_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_RPC_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
_EPISODE_SECONDS = (5, 10, 20, 40, 60, 90, 120, 180, 300, 600, 1200, 3600)
WAIT_SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1)
_ROUNDS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 50, 100)
_TASK_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)

_MODEL_PARTS: Final[tuple[Part, ...]] = ("worker", "caption", "qa")

INFO = gauge(
    "longvideo_info", "1, for the version and the part of longvideo that this is.", ("version", "part"), *PARTS
)

MODEL_CALLS = counter(
    "longvideo_model_calls",
    "Requests to model servers, each attempt one, by how they ended: those of the ledger.",
    ("role", "model", "pool", "outcome"),
    *_MODEL_PARTS,
)
MODEL_CALL_SECONDS = histogram(
    "longvideo_model_call_seconds",
    "How long requests to model servers took, from sending the request to having read the answer.",
    ("role", "model", "pool"),
    _CALL_SECONDS,
    *_MODEL_PARTS,
)
MODEL_TOKENS = counter(
    "longvideo_model_tokens",
    "Tokens as the model servers counted them: `prompt`, of which some are `cached`, and `completion`.",
    ("role", "model", "pool", "kind"),
    *_MODEL_PARTS,
)
MODEL_IMAGES = counter(
    "longvideo_model_images",
    "Images sent to model servers.",
    ("role", "model", "pool"),
    *_MODEL_PARTS,
)
MODEL_GPU_SECONDS = counter(
    "longvideo_model_gpu_seconds",
    "The seconds of requests to model servers times the GPUs of one replica there, however the requests ended. What an "
    "engine does for several requests at one time counts in full for each.",
    ("role", "model", "pool"),
    *_MODEL_PARTS,
)
MODEL_COST = counter(
    "longvideo_model_cost",
    "What these GPU-seconds cost by the price book, in its currency. Not there for a pool without a price.",
    ("role", "model", "pool", "currency"),
    *_MODEL_PARTS,
)
MODEL_GPUS = gauge(
    "longvideo_model_gpus",
    "The GPUs of one replica of a model, as the settings say. Take the `max` over the processes.",
    ("model", "pool"),
    *_MODEL_PARTS,
)
GPU_HOUR_PRICE = gauge(
    "longvideo_gpu_hour_price",
    "What a GPU of a pool costs for an hour now, by the price book and in its currency. Take the `max` over the "
    "processes.",
    ("pool", "currency"),
    *_MODEL_PARTS,
)
MODEL_CALLS_IN_FLIGHT = gauge(
    "longvideo_model_calls_in_flight",
    "Answers of models that are waited for now, pauses between attempts included: what there is to do for a pool, also "
    "when none of its servers is up. Sum it over the processes.",
    ("role", "pool"),
    *_MODEL_PARTS,
)
MODEL_UNSERVED = counter(
    "longvideo_model_unserved",
    "Attempts to use a model in a pool that found no server, or one that failed: whoever waits for a model that has no "
    "server at all comes again and again, and is seen here.",
    ("role", "pool"),
    *_MODEL_PARTS,
)
MODEL_ENDPOINT_HEALTHY = gauge(
    "longvideo_model_endpoint_healthy",
    "1 when the last request to a model server went well, or none was made yet, and 0 when it failed; as this process "
    "sees it.",
    ("role", "pool", "endpoint"),
    *_MODEL_PARTS,
)
EPISODES = counter(
    "longvideo_episodes",
    "Episodes that ended, by their ending. The API ends those that nobody works on when they are cancelled.",
    ("ending",),
    "api",
    "worker",
)
EPISODE_SECONDS = histogram(
    "longvideo_episode_seconds",
    "How long episodes took from when they were first taken up to their end, by their ending.",
    ("ending",),
    _EPISODE_SECONDS,
    "worker",
)
EPISODE_WAIT_SECONDS = histogram(
    "longvideo_episode_wait_seconds",
    "How long episodes waited from when they were accepted until they were first taken up, by their priority.",
    ("priority",),
    WAIT_SECONDS,
    "worker",
)
EPISODE_ACTIONS = counter(
    "longvideo_episode_actions",
    "What the reasoner did in its rounds: it read a caption (`medium`, `low`), asked about a clip (`video_qa`), did "
    "again what it had done before (`repeated`), or answered (`answer`).",
    ("action",),
    "worker",
)
EPISODE_COVERAGE = histogram(
    "longvideo_episode_coverage_ratio",
    "The share of the video that episodes had looked at by their end: `opened` at all, at the `low` level, or "
    "`inspected` by the qa model.",
    ("share",),
    _RATIOS,
    "worker",
)
EPISODE_ROUNDS = histogram(
    "longvideo_episode_rounds",
    "How many rounds episodes had at their end, by their ending.",
    ("ending",),
    _ROUNDS,
    "worker",
)
CAPTIONS = counter(
    "longvideo_captions",
    "Captions asked for, by the level of the segment and whether they were `cached`, `made` or neither (`failed`).",
    ("level", "result"),
    "caption",
)
CAPTION_SAVED_GPU_SECONDS = counter(
    "longvideo_caption_saved_gpu_seconds",
    "What it had taken to make the captions that were there already when somebody asked: seconds times GPUs.",
    ("model", "pool"),
    "caption",
)
STORAGE_FAILURES = counter(
    "longvideo_storage_failures",
    "Uses of the `database` and of the storage of videos and captions (`objects`) that failed after all attempts, for "
    "it was `unavailable` or `full`.",
    ("storage", "reason"),
    "api",
    "worker",
    "caption",
    "qa",
)
FRAMES = counter(
    "longvideo_frames",
    "Frames shown to models, by whether they were `read` from the video or still in `memory`.",
    ("source",),
    "caption",
    "qa",
)
MEDIA_TASKS = counter(
    "longvideo_media_tasks",
    "Processes that read a video, by what they did (`index`, `frames`) and how that ended: `ok`, `given_up`, or the "
    "reason of what was wrong with the video.",
    ("task", "outcome"),
    "api",
    "caption",
    "qa",
)
MEDIA_TASK_SECONDS = histogram(
    "longvideo_media_task_seconds",
    "How long such a process took, its reading from the storage included.",
    ("task",),
    _TASK_SECONDS,
    "api",
    "caption",
    "qa",
)
MEDIA_BYTES = counter(
    "longvideo_media_read_bytes",
    "Bytes of videos that such processes were given.",
    ("task",),
    "api",
    "caption",
    "qa",
)
RPCS = counter(
    "longvideo_rpcs",
    "Calls of this process's own services, by how they ended.",
    ("service", "method", "code"),
    "api",
    "caption",
    "qa",
)
RPC_SECONDS = histogram(
    "longvideo_rpc_seconds",
    "How long such calls took; a stream lasts as long as it is read.",
    ("service", "method"),
    _RPC_SECONDS,
    "api",
    "caption",
    "qa",
)
RPCS_IN_FLIGHT = gauge(
    "longvideo_rpcs_in_flight",
    "Calls of this process's own services that it answers now. Sum it over the processes.",
    ("service",),
    "api",
    "caption",
    "qa",
)
BEAT_MESSAGES = counter(
    "longvideo_beat_messages",
    "Messages that the clock had to send, by whether they were `sent`, `held` while nobody reads the earlier ones, or "
    "`failed` for want of a broker.",
    ("message", "result"),
    "beat",
)


_SAME = "Every process of the API tells the same, out of the database: take the `max` over them, never the sum."
BACKLOG = {
    "longvideo_episodes_waiting": "Episodes that nobody works on now, those that wait for models among them.",
    "longvideo_episodes_running": "Episodes that a worker has.",
    "longvideo_oldest_waiting_episode_seconds": "How long ago the oldest of the waiting episodes was accepted; 0 when "
    "none waits.",
}
for _name, _meaning in BACKLOG.items():
    declare(_name, "gauge", ("priority",), ("api",), f"{_meaning} {_SAME}")
BACKLOGS: Final = Backlogs(BACKLOG)
REGISTRY.register(BACKLOGS)

# A counter that is not there yet hides its first count from `rate`.
for _metric, _values in (
    (EPISODES, (ENDINGS,)),
    (EPISODE_SECONDS, (ENDINGS,)),
    (EPISODE_ROUNDS, (ENDINGS,)),
    (EPISODE_WAIT_SECONDS, (PRIORITIES,)),
    (EPISODE_ACTIONS, (ACTIONS,)),
    (EPISODE_COVERAGE, (SHARES,)),
    (CAPTIONS, (LEVEL_NAMES, ("cached", "made", "failed"))),
    (STORAGE_FAILURES, (("database", "objects"), ("full", "unavailable"))),
    (FRAMES, (("read", "memory"),)),
    (MEDIA_TASKS, (("index", "frames"), ("ok",))),
    (MEDIA_TASK_SECONDS, (("index", "frames"),)),
    (MEDIA_BYTES, (("index", "frames"),)),
):
    for _labels in itertools.product(*_values):
        _metric.labels(*_labels)

_model_name = FirstNames(MAX_NAMES)


class _Prices:
    """What calls cost; nothing is known without a book."""

    book: PriceBook | None = None


PRICES: Final = _Prices()


def expect_rpcs(service: str, methods: Iterable[str]) -> None:
    """Begins to count the calls of a service, those among them that nobody foresees."""
    RPCS_IN_FLIGHT.labels(service)
    for method in methods:
        RPC_SECONDS.labels(service, method)
        for code in ("OK", "INTERNAL"):
            RPCS.labels(service, method, code)


def expect_calls(role: Role, model: str, pool: str) -> None:
    """Begins to count the calls of a model that will be asked: `rate` does not see what a new counter begins with."""
    labels = (role, _model_name(model), pool)
    MODEL_CALL_SECONDS.labels(*labels)
    MODEL_IMAGES.labels(*labels)
    MODEL_GPU_SECONDS.labels(*labels)
    if PRICES.book is not None and PRICES.book.price(pool, time.time()) is not None:
        MODEL_COST.labels(*labels, PRICES.book.currency)
    for outcome in OUTCOMES:
        MODEL_CALLS.labels(*labels, outcome)
    for kind in TOKEN_KINDS:
        MODEL_TOKENS.labels(*labels, kind)


def tell_gpus(model: str, pool: str, gpus: int) -> None:
    """Tells how many GPUs a replica of a model has, and what one of them costs, where there is a price."""
    MODEL_GPUS.labels(_model_name(model), pool).set(gpus)
    book = PRICES.book
    if book is not None and book.price(pool, time.time()) is not None:
        GPU_HOUR_PRICE.labels(pool, book.currency).set_function(lambda: book.price(pool, time.time()) or 0.0)


def count_calls(calls: Iterable[Call]) -> None:
    """Counts model calls, once, when it is known how they ended: whoever made them does it."""
    for call in calls:
        labels = (call.role, _model_name(call.model), call.pool)
        MODEL_CALLS.labels(*labels, call.outcome).inc()
        MODEL_CALL_SECONDS.labels(*labels).observe(call.seconds, telemetry.exemplar())
        MODEL_IMAGES.labels(*labels).inc(call.images)
        MODEL_GPU_SECONDS.labels(*labels).inc(call.seconds * call.gpus)
        if call.gpus and PRICES.book is not None and (cost := PRICES.book.of(call)) is not None:
            MODEL_COST.labels(*labels, PRICES.book.currency).inc(cost)
        for kind, count in zip(
            TOKEN_KINDS, (call.prompt_tokens, call.cached_tokens, call.completion_tokens), strict=True
        ):
            MODEL_TOKENS.labels(*labels, kind).inc(count)


def count_end(ending: str, seconds: float, episode: pb.Episode | None) -> None:
    """Counts an episode that has just ended, and what it was at its end, if that is known."""
    EPISODES.labels(ending).inc()
    EPISODE_SECONDS.labels(ending).observe(seconds, telemetry.exemplar())
    if episode is None:
        return
    EPISODE_ROUNDS.labels(ending).observe(episode.round_count)
    for share in SHARES:
        EPISODE_COVERAGE.labels(share).observe(getattr(episode.coverage, f"{share}_fraction"))


def count_kept(calls: Iterable[Call]) -> None:
    """Counts a caption that was there already, and the calls that once made it, as saved."""
    for call in calls:
        saved = CAPTION_SAVED_GPU_SECONDS.labels(_model_name(call.model), call.pool)
        saved.inc(call.seconds * call.gpus)


def storage_failed(storage: Literal["database", "objects"], error: LongVideoError) -> None:
    """Counts a use of a storage that failed, unless it was only that something is not there."""
    if isinstance(error, StorageFull | StorageUnavailable):
        STORAGE_FAILURES.labels(storage, "full" if isinstance(error, StorageFull) else "unavailable").inc()


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
