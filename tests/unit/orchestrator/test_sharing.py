"""Who had which share of the GPUs: the sweep against plain arithmetic over every stretch of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.prices import Price, PriceBook
from orchestrator.costs.sharing import Amount, Capacity, Entry, Part, Sweep, provided, steps

SINCE, UNTIL = 20.0, 60.0
BOOK = PriceBook("EUR", [Price("h800", 3600.0, 10.0, "test"), Price("h800", 7200.0, 40.0, "test")])
"""1 for a GPU-second from 10 s on, 2 from 40 s on; nothing is known of a800."""


def call(start: float, seconds: float, **changes: object) -> Entry:
    """Returns a call with two GPUs."""
    plain = Entry(
        tenant="default",
        job_id="j1",
        episode=1,
        round=None,
        video_id="v",
        label="",
        role="caption",
        model="vision",
        endpoint="http://one/v1",
        pool="h800",
        gpus=2,
        start=start,
        seconds=seconds,
        outcome="ok",
        prompt_tokens=100,
        cached_tokens=0,
        completion_tokens=10,
        images=0,
        attempt=1,
        prefill_seconds=None,
    )
    return plain._replace(**changes)  # type: ignore[arg-type]


def swept(
    calls: Sequence[Entry], capacities: dict[tuple[str, str], list[Capacity]] | None = None, book: PriceBook = BOOK
) -> list[Part]:
    """Returns the parts in the order in which the calls started."""
    ordered = sorted(calls, key=lambda each: each.start)
    found = list(Sweep(SINCE, UNTIL, book, capacities or {}).parts(ordered))
    assert len(found) == len(calls)
    return sorted(found, key=lambda part: part.call.start)


def test_calls_at_one_server_share_it() -> None:
    """While two calls are there each has half of the GPUs, alone each has all."""
    first, second = swept([call(22, 4), call(24, 6)])
    assert first.attributed == pytest.approx(Amount(2 * (2 + 2 / 2), 6, 0))
    assert second.attributed == pytest.approx(Amount(2 * (2 / 2 + 4), 10, 0))
    assert not first.was_alone
    assert not second.was_alone


def test_calls_at_other_servers_do_not_share() -> None:
    """Another URL, another model or another pool is another server; a call that follows at once is alone."""
    apart = [
        call(22, 4),
        call(22.5, 4, endpoint="http://two/v1"),
        call(23, 4, model="reasoner"),
        call(23.5, 4, pool="a800"),
        call(26, 4),
    ]
    parts = swept(apart)
    assert [part.attributed.gpu_seconds for part in parts] == [8, 8, 8, 8, 8]
    assert all(part.was_alone for part in parts)
    assert parts[3].attributed == Amount(8, 0, 8)


def test_prices_change_in_the_middle_of_a_call() -> None:
    """Each part of a call costs what a GPU cost then; what comes before the first has no price."""
    (part,) = swept([call(38, 4)])
    assert part.attributed == pytest.approx(Amount(8, 2 * 2 * 1 + 2 * 2 * 2, 0))
    assert part.price == 1
    (part,) = swept([call(5, 30)])
    assert part.whole == pytest.approx(Amount(60, 2 * 25, 2 * 5))
    assert part.attributed == pytest.approx(Amount(2 * 15, 2 * 15, 0))
    assert not part.is_sent


def test_what_lies_outside_of_the_period_is_not_counted() -> None:
    """Of a call that is under way when the period begins or ends, only what lies in it is counted."""
    early, late, gone = swept([call(15, 10), call(55, 10), call(3, 5)])[1:] + swept([call(3, 5)])
    assert (early.attributed.gpu_seconds, early.is_sent, early.has_ended) == (10, False, True)
    assert (late.attributed.gpu_seconds, late.is_sent, late.has_ended) == (10, True, False)
    assert (gone.attributed.gpu_seconds, gone.whole.gpu_seconds) == (0, 10)


def test_replicas_serve_one_call_each_before_they_share() -> None:
    """Of four replicas, two calls have one each; six calls have four sixths of one each."""
    four = {("vision", "h800"): [Capacity(0, 4, 8)]}
    assert [part.allocated for part in swept([call(22, 3), call(22, 3)], four)] == [Amount(6, 6, 0)] * 2
    parts = swept([call(22, 3)] * 6, four)
    assert {part.allocated for part in parts} == {Amount(4, 4, 0)}
    assert [part.attributed.gpu_seconds for part in parts] == pytest.approx([1] * 6)


def test_calls_without_replicas_are_told() -> None:
    """Where Prometheus saw no replica nothing is allocated, and the time is known; of another model nothing is."""
    sweep = Sweep(SINCE, UNTIL, BOOK, {("vision", "h800"): [Capacity(0, 1, 2), Capacity(30, 0, 0)]})
    known, unknown = sweep.parts([call(28, 5), call(28, 5, model="other")])
    assert (known.allocated, unknown.allocated) == (Amount(4, 4, 0), None)
    assert sweep.dark() == {("vision", "h800"): 3}


def test_models_without_gpus_cost_nothing() -> None:
    """A call that no GPU served has no GPU-seconds, and so nothing that lacks a price."""
    (part,) = swept([call(22, 3, gpus=0, pool="default")])
    assert (part.attributed, part.allocated) == (Amount(), Amount())


# Against brute force --------------------------------------------------------------------------------------------------

_TIMES = st.integers(0, 160).map(lambda quarter: quarter / 2)
_CALLS = st.lists(
    st.builds(
        call,
        start=_TIMES.filter(lambda at: at < UNTIL),
        seconds=st.integers(0, 60).map(lambda quarter: quarter / 2),
        endpoint=st.sampled_from(["http://one/v1", "http://two/v1"]),
        model=st.sampled_from(["vision", "reasoner"]),
        pool=st.sampled_from(["h800", "a800"]),
        gpus=st.sampled_from([0, 1, 2]),
    ),
    max_size=12,
)
_CAPACITY = st.dictionaries(_TIMES, st.tuples(st.integers(0, 3), st.integers(1, 2)), max_size=4).map(
    lambda found: [Capacity(at, count, count * gpus) for at, (count, gpus) in sorted(found.items())]
)
_CAPACITIES = st.fixed_dictionaries({("vision", "h800"): _CAPACITY, ("reasoner", "h800"): _CAPACITY})


@dataclass
class _Slice:
    """A stretch of time in which nothing changes: half a second."""

    at: float
    calls: Sequence[Entry]

    def at_once(self, same: Callable[[Entry], bool]) -> int:
        return sum(each.start <= self.at < each.start + each.seconds and same(each) for each in self.calls)


def _price(pool: str, at: float) -> float | None:
    return BOOK.price(pool, at)


def _capacity(found: Sequence[Capacity], at: float) -> tuple[float, float]:
    known = [each for each in found if each.at <= at]
    return known[-1][1:] if known else (0, 0)


def _expected(one: Entry, calls: Sequence[Entry], found: Sequence[Capacity] | None) -> tuple[Amount, Amount | None]:
    attributed, allocated = [0.0] * 3, [0.0] * 3
    for number in range(int(SINCE * 2), int(UNTIL * 2)):
        now = _Slice(number / 2, calls)
        if not one.start <= now.at < one.start + one.seconds:
            continue
        server = now.at_once(lambda each: each[7:10] == one[7:10])
        station = now.at_once(lambda each: (each.model, each.pool) == (one.model, one.pool))
        replicas, gpus = _capacity(found or [], now.at)
        price = _price(one.pool, now.at)
        got = (0.5 * one.gpus / server, 0.5 * gpus / max(station, replicas) if one.gpus else 0.0)
        for total, amount in zip((attributed, allocated), got, strict=True):
            total[0] += amount
            total[2 if price is None else 1] += amount if price is None else amount * price / 3600
    return Amount(*attributed), Amount(*allocated) if found is not None or not one.gpus else None


@given(_CALLS, _CAPACITIES)
def test_every_call_gets_what_it_had(calls: list[Entry], capacities: dict[tuple[str, str], list[Capacity]]) -> None:
    """Both shares of every call are the sum over all half seconds of the GPUs divided by the calls at the time."""
    numbered = [each._replace(job_id=str(number)) for number, each in enumerate(calls)]
    ordered = sorted(numbered, key=lambda each: each.start)
    for part in Sweep(SINCE, UNTIL, BOOK, capacities).parts(ordered):
        attributed, allocated = _expected(part.call, calls, capacities.get((part.call.model, part.call.pool)))
        assert part.attributed == pytest.approx(attributed)
        assert (part.allocated is None) == (allocated is None)
        if part.allocated is not None and allocated is not None:
            assert part.allocated == pytest.approx(allocated)


@given(_CALLS)
def test_calls_are_alone_when_no_other_was_there(calls: list[Entry]) -> None:
    """A call is alone when no other was at its server at any moment of it."""
    some = [each for each in calls if each.seconds]
    numbered = sorted((each._replace(job_id=str(number)) for number, each in enumerate(some)), key=lambda c: c.start)
    for part in Sweep(SINCE, UNTIL, BOOK, {}).parts(numbered):
        one = part.call
        others = [each for each in numbered if each[7:10] == one[7:10] and each is not one]
        met = any(each.start < one.start + one.seconds and one.start < each.start + each.seconds for each in others)
        assert part.was_alone != met


@given(_CALLS, _CAPACITIES)
def test_no_more_is_used_than_was_provided(
    calls: list[Entry], capacities: dict[tuple[str, str], list[Capacity]]
) -> None:
    """What all calls had of a model's GPUs is at most what was provided: what stands idle is never below nothing."""
    used = dict.fromkeys(capacities, 0.0)
    for part in Sweep(SINCE, UNTIL, BOOK, capacities).parts(sorted(calls, key=lambda each: each.start)):
        if part.allocated is not None and part.call.gpus:
            used[part.call.model, part.call.pool] += part.allocated.gpu_seconds
    for key, found in capacities.items():
        total = provided(steps(BOOK, key[1], found), SINCE, UNTIL)
        assert used[key] <= total.gpu_seconds + 1e-6


def test_what_was_provided_is_priced_by_its_time() -> None:
    """Replicas times GPUs times the price of each moment, within the period alone."""
    found = steps(BOOK, "h800", [Capacity(0, 1, 2), Capacity(50, 2, 4)])
    assert provided(found, SINCE, UNTIL) == Amount(2 * 30 + 4 * 10, 2 * 20 + 2 * 10 * 2 + 4 * 10 * 2, 0)
    assert provided(found, 5, 15) == Amount(20, 10, 10)
    assert provided(found, -10, 0) == Amount()
