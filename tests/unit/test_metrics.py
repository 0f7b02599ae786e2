"""What is declared of the metrics, and that counting neither fails nor waits."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence

import pytest

from longvideo import metrics
from longvideo.metrics import DECLARED, PARTS, REGISTRY, Backlog, Flight, count_calls
from longvideo.usage import Call


def value(name: str, **labels: str) -> float:
    """Returns a sample; 0 where there is none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_names() -> None:
    """Names and labels are as Prometheus wants them, and no label could hold an id or a tenant."""
    units = ("_total", "_seconds", "_info", "_rounds", "_waiting", "_running", "_in_flight", "_healthy")
    for declared in DECLARED.values():
        assert re.fullmatch(r"longvideo_[a-z_]+", declared.name)
        assert declared.name.endswith("_total") == (declared.kind == "counter")
        assert declared.name.endswith(units)
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


def test_models_of_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that calls its model something else every time makes no more than so many series."""
    monkeypatch.setattr(metrics, "_model_name", metrics._Names(2))
    count_calls(Call("qa", name, "u", "many", 1, 0.0, 1.0, "ok") for name in ("a", "b", "c", "d", "a"))
    counts = {
        name: value("longvideo_model_calls_total", role="qa", model=name, pool="many", outcome="ok")
        for name in ("a", "b", "c", "d", "other")
    }
    assert counts == {"a": 2, "b": 1, "c": 0, "d": 0, "other": 2}


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


def waiting(backlogs: metrics._Backlogs) -> list[float]:
    """Returns how many episodes wait, by priority."""
    return [sample.value for sample in next(iter(backlogs.collect())).samples]


def test_backlog_of_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the database said lately is told; while it does not answer, or fails, nobody waits for it or fails."""
    backlogs, gate = metrics._Backlogs(), threading.Event()
    assert waiting(backlogs) == []
    monkeypatch.setattr(metrics._Backlogs, "_EVERY", 0.0)
    monkeypatch.setattr(metrics._Backlogs, "_WAIT", 0.05)
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
    monkeypatch.setattr(metrics._Backlogs, "_NEW", 0.0)
    assert waiting(backlogs) == []


def test_backlog_is_asked_for_now_and_then() -> None:
    """However often somebody scrapes, the database is asked only every few seconds."""
    asked = []

    def ask() -> Sequence[Backlog]:
        asked.append(1)
        return [Backlog("interactive", 1, 0, 0.0)]

    backlogs = metrics._Backlogs()
    backlogs.source = ask
    while not waiting(backlogs):
        pass
    waiting(backlogs)
    assert asked == [1]
