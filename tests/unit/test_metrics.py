"""What is declared of the metrics, and that counting neither fails nor waits."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from longvideo import metrics
from longvideo.backlogs import Backlog, Backlogs
from longvideo.cardinality import FirstNames
from longvideo.declared import DECLARED, PARTS, REGISTRY
from longvideo.errors import NotFound, StorageFull, StorageUnavailable
from longvideo.metrics import PRICES, Flight, count_calls, expect_calls
from longvideo.prices import Price, PriceBook
from longvideo.usage import OUTCOMES, Call
from longvideo.v1 import orchestrator_pb2 as pb
from orchestrator import messages

REASONS = {"unavailable": 1, "full": 2}


def value(name: str, **labels: str) -> float:
    """Returns a sample; 0 where there is none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_names() -> None:
    """Names and labels are as Prometheus wants them, and no label could hold an id or a tenant."""
    units = ("_total", "_seconds", "_ratio", "_info", "_rounds", "_gpus", "_price")
    states = ("_waiting", "_running", "_in_flight", "_healthy")
    for declared in DECLARED.values():
        assert re.fullmatch(r"longvideo_[a-z_]+", declared.name)
        assert declared.name.endswith("_total") == (declared.kind == "counter")
        assert declared.name.endswith(units + states)
        assert declared.meaning.endswith(".")
        assert declared.parts <= set(PARTS)
        assert not {"tenant", "video", "job", "episode", "id", "user", "label"} & set(declared.labels)


def test_everything_is_declared() -> None:
    """What a process can show is on the page, under its kind."""
    shown = {metric.name: metric.type for metric in REGISTRY.collect()}
    assert shown == {name: declared.kind for name, declared in DECLARED.items()}


def test_calls() -> None:
    """A call counts once in each metric of calls, whatever became of it."""
    labels = {"role": "qa", "model": "unit-model", "pool": "unit"}
    made = Call("qa", "unit-model", "http://x/v1", "unit", 1, 0.0, 2.5, "ok", 100, 40, 10, 16)
    count_calls([made, Call("qa", "unit-model", "http://x/v1", "unit", 1, 0.0, 1.5, "timeout")])
    assert value("longvideo_model_calls_total", **labels, outcome="ok") == 1
    assert value("longvideo_model_calls_total", **labels, outcome="timeout") == 1
    assert value("longvideo_model_call_seconds_count", **labels) == 2
    assert value("longvideo_model_call_seconds_sum", **labels) == 4.0
    tokens = [value("longvideo_model_tokens_total", **labels, kind=kind) for kind in ("prompt", "cached", "completion")]
    assert (tokens, value("longvideo_model_images_total", **labels)) == ([100, 40, 10], 16)


def test_gpus_and_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call counts its seconds times its GPUs, and what they cost where the pool has a price."""
    monkeypatch.setattr(PRICES, "book", PriceBook("EUR", [Price("priced", 1800.0, 100.0, "made up")]))
    for pool, gpus in (("priced", 2), ("free", 2), ("none", 0)):
        count_calls([Call("qa", "m", "u", pool, gpus, 200.0, 3.0, outcome) for outcome in ("ok", "timeout")])
        assert value("longvideo_model_gpu_seconds_total", role="qa", model="m", pool=pool) == 2 * 3.0 * gpus
    costs = {
        sample.labels["pool"]: (sample.value, sample.labels["currency"])
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "longvideo_model_cost_total"
    }
    assert costs == {"priced": (6.0, "EUR")}
    expect_calls("qa", "new", "priced")
    assert (
        REGISTRY.get_sample_value(
            "longvideo_model_cost_total", {"role": "qa", "model": "new", "pool": "priced", "currency": "EUR"}
        )
        == 0.0
    )


def test_gpus_and_their_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica's GPUs are told, and what one costs at the moment of asking; no price where the book has none."""
    book = PriceBook("EUR", [Price("hourly", 2.5, 100.0, "made up"), Price("later", 9.0, time.time() + 1e6, "made up")])
    monkeypatch.setattr(PRICES, "book", book)
    for pool in ("hourly", "later", "unpriced"):
        metrics.tell_gpus("told", pool, 4)
        assert value("longvideo_model_gpus", model="told", pool=pool) == 4
    assert value("longvideo_gpu_hour_price", pool="hourly", currency="EUR") == 2.5
    for pool in ("later", "unpriced"):
        assert REGISTRY.get_sample_value("longvideo_gpu_hour_price", {"pool": pool, "currency": "EUR"}) is None


def test_models_of_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that calls its model something else every time makes no more than so many series."""
    monkeypatch.setattr(metrics, "_model_name", FirstNames(2))
    count_calls(Call("qa", name, "u", "many", 1, 0.0, 1.0, "ok") for name in ("a", "b", "c", "d", "a"))
    counts = {
        name: value("longvideo_model_calls_total", role="qa", model=name, pool="many", outcome="ok")
        for name in ("a", "b", "c", "d", "other")
    }
    assert counts == {"a": 2, "b": 1, "c": 0, "d": 0, "other": 2}


def test_what_is_not_there_yet_counts_from_nothing() -> None:
    """A model that will be asked, and each ending, action and level, has its counters before the first count."""
    metrics.expect_calls("caption", "expected", "unit")
    for outcome in OUTCOMES:
        labels = {"role": "caption", "model": "expected", "pool": "unit", "outcome": outcome}
        assert REGISTRY.get_sample_value("longvideo_model_calls_total", labels) == 0
    for ending in metrics.ENDINGS:  # of which other tests may have counted some
        assert REGISTRY.get_sample_value("longvideo_episodes_total", {"ending": ending}) is not None
    assert set(metrics.ENDINGS) == set(messages.ENDINGS) - {""}


def test_an_episode_that_ended() -> None:
    """An ending counts with its time, its rounds, and the shares of the video that were looked at."""
    episode = pb.Episode(round_count=4, coverage=pb.Coverage(opened_fraction=0.5, low_fraction=0.2))
    names = ("longvideo_episodes_total", "longvideo_episode_seconds_sum", "longvideo_episode_rounds_sum")
    before = [value(name, ending="time_exhausted") for name in names]
    opened = value("longvideo_episode_coverage_ratio_sum", share="opened")
    metrics.count_end("time_exhausted", 7.0, episode)
    metrics.count_end("time_exhausted", 1.0, None)
    after = [value(name, ending="time_exhausted") for name in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 8, 4]
    assert value("longvideo_episode_coverage_ratio_sum", share="opened") - opened == 0.5


def test_a_kept_caption() -> None:
    """A caption that was there saves what its calls took: seconds times GPUs."""
    made = Call("caption", "kept-model", "http://x/v1", "unit", 2, 0.0, 3.5, "ok")
    metrics.count_kept([made, replace(made, gpus=0)])
    assert value("longvideo_caption_saved_gpu_seconds_total", model="kept-model", pool="unit") == 7


def test_storages_that_fail() -> None:
    """A storage that is away or full counts; that something is not in it does not."""
    counts = {reason: value("longvideo_storage_failures_total", storage="objects", reason=reason) for reason in REASONS}
    for error in (StorageUnavailable("away"), StorageFull("full"), StorageFull("full"), NotFound("nothing")):
        metrics.storage_failed("objects", error)
    for reason, more in REASONS.items():
        assert value("longvideo_storage_failures_total", storage="objects", reason=reason) == counts[reason] + more


def test_flights() -> None:
    """A call in flight counts for the pool that it is at, and for none at its end."""
    flight = Flight("reason")

    def counts() -> list[float]:
        return [value("longvideo_model_calls_in_flight", role="reason", pool=pool) for pool in ("p1", "p2")]

    seen = [counts()]
    for pool in ("p1", "p1", "p2"):
        flight.at(pool)
        seen.append(counts())
    flight.end()
    flight.end()
    assert [*seen, counts()] == [[0, 0], [1, 0], [1, 0], [0, 1], [0, 0]]


def waiting(backlogs: Backlogs) -> list[float]:
    """Returns how many episodes wait, by priority."""
    return [sample.value for sample in next(iter(backlogs.collect())).samples]


def test_backlog_of_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the database said lately is told; while it does not answer, or fails, nobody waits for it or fails."""
    backlogs, gate = Backlogs(metrics.BACKLOG), threading.Event()
    assert waiting(backlogs) == []
    monkeypatch.setattr(Backlogs, "_EVERY", 0.0)
    monkeypatch.setattr(Backlogs, "_WAIT", 0.05)
    backlogs.source = lambda: [Backlog("interactive", 3, 2, 1.0), Backlog("batch", 0, 0, 0.0)]
    deadline = time.monotonic() + 10
    while waiting(backlogs) != [3.0, 0.0]:
        assert time.monotonic() < deadline

    def hang() -> Sequence[Backlog]:
        gate.wait(10)
        raise LookupError

    backlogs.source = hang
    assert waiting(backlogs) == waiting(backlogs) == [3.0, 0.0]
    gate.set()
    monkeypatch.setattr(Backlogs, "_NEW", 0.0)
    assert waiting(backlogs) == []


def test_backlog_is_asked_for_now_and_then() -> None:
    """However often somebody scrapes, the database is asked only every few seconds."""
    asked = []

    def ask() -> Sequence[Backlog]:
        asked.append(1)
        return [Backlog("interactive", 1, 0, 0.0)]

    backlogs = Backlogs(metrics.BACKLOG)
    backlogs.source = ask
    while not waiting(backlogs):
        pass
    waiting(backlogs)
    assert asked == [1]
