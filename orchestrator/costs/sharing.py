"""Who had which share of the GPUs: a sweep over the calls in the order of time.

All calls that a server answers at one time have the same share of it. Instead of dividing time among them at every
start and end, a meter adds up what any one call at a server gets; a call got what its meter shows at its end, less what
it showed at its start. So a call takes the same few steps however many others there are.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from longvideo.prices import PriceBook

_HOUR: Final = 3600.0


class Entry(NamedTuple):
    """A model call, as far as costs need it."""

    tenant: str
    job_id: str | None
    episode: int | None
    round: int | None
    video_id: str | None
    label: str
    role: str
    model: str
    endpoint: str
    pool: str
    gpus: int
    start: float
    seconds: float
    outcome: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    images: int
    attempt: int
    prefill_seconds: float | None


class Amount(NamedTuple):
    """GPU-seconds, what those with a price cost, and those without."""

    gpu_seconds: float = 0.0
    cost: float = 0.0
    unpriced: float = 0.0

    def less(self, other: Amount, factor: float) -> Amount:
        """Returns so many times what is left when the other is taken away."""
        return Amount((self[0] - other[0]) * factor, (self[1] - other[1]) * factor, (self[2] - other[2]) * factor)

    def times(self, factor: float) -> Amount:
        """Returns so many times the amount."""
        return Amount(self[0] * factor, self[1] * factor, self[2] * factor)


class Step(NamedTuple):
    """How many replicas there are from a moment on, with how many GPUs in all, and what a GPU costs for a second."""

    at: float
    replicas: float
    gpus: float
    price: float | None


class Capacity(NamedTuple):
    """How many replicas of a model there are in a pool from a moment on, with how many GPUs in all."""

    at: float
    replicas: float
    gpus: float


Capacities = Mapping[tuple[str, str], Sequence[Capacity]]
"""By model and pool, in the order of time."""


def steps(book: PriceBook | None, pool: str, capacities: Sequence[Capacity], marks: Sequence[float] = ()) -> list[Step]:
    """Returns how capacity and price go on together, with a step of its own at each of the marks."""
    prices = book.changes(pool) if book is not None else []
    starts, price_starts = [each.at for each in capacities], [at for at, _ in prices]
    found = []
    for at in sorted({-math.inf, *starts, *price_starts, *marks}):
        place, price = bisect.bisect_right(starts, at), bisect.bisect_right(price_starts, at)
        replicas, gpus = capacities[place - 1][1:] if place else (0.0, 0.0)
        found.append(Step(at, replicas, gpus, prices[price - 1][1] / _HOUR if price else None))
    return found


def provided(found: Sequence[Step], since: float, until: float) -> Amount:
    """Returns what the GPUs of these steps come to from one moment to another."""
    total = [0.0, 0.0, 0.0]
    for number, step in enumerate(found):
        end = found[number + 1].at if number + 1 < len(found) else math.inf
        gpu_seconds = max(0.0, min(end, until) - max(step.at, since)) * step.gpus
        total[0] += gpu_seconds
        total[1 if step.price is not None else 2] += gpu_seconds * (1.0 if step.price is None else step.price)
    return Amount(*total)


class Meter:
    """Adds up what one call gets of replicas that share all calls evenly: never more than one of them."""

    __slots__ = (
        "_at",
        "_base",
        "_cost",
        "_got",
        "_next",
        "_since",
        "_steps",
        "_unpriced",
        "count",
        "dark",
        "starts",
        "step",
    )

    def __init__(self, found: Sequence[Step], since: float, at: float) -> None:
        """Makes a meter that runs from `at` on. One of the steps is at `since`, when the period begins."""
        self._steps, self._since, self._at = found, since, at
        self._next = bisect.bisect_right(found, at, key=lambda step: step.at)
        self.step = found[self._next - 1]
        self._got = self._cost = self._unpriced = 0.0
        self._base = Amount() if at >= since else None
        self.count = 0
        """How many calls there are now."""
        self.starts = 0
        """How many calls there have been."""
        self.dark = 0.0
        """How many seconds of the period there were calls but no replica."""

    def shows(self, now: float) -> Amount:
        """Moves on to a moment, and returns what a call has got that has been there from the beginning."""
        while self._next < len(self._steps) and self._steps[self._next].at <= now:
            step = self._steps[self._next]
            self._add(step.at)
            self.step = step
            self._next += 1
            if step.at == self._since:
                self._base = Amount(self._got, self._cost, self._unpriced)
        self._add(now)
        return Amount(self._got, self._cost, self._unpriced)

    def since_the_beginning(self, mark: Amount, now: Amount, factor: float) -> Amount:
        """Returns so many times what a call got between two readings within the period."""
        if self._base is None:
            return Amount()
        return now.less(Amount(*map(max, mark, self._base)), factor)

    def _add(self, now: float) -> None:
        if self.count and now > self._at:
            step = self.step
            got = (now - self._at) * step.gpus / max(self.count, step.replicas)
            self._got += got
            if step.price is None:
                self._unpriced += got
            else:
                self._cost += got * step.price
            if not step.replicas and self._base is not None:
                self.dark += now - self._at
        self._at = now


class Part(NamedTuple):
    """A call and what it had. `whole` is of all its time, `attributed` and `allocated` of that within the period."""

    call: Entry
    is_sent: bool
    """Whether the call was sent within the period."""
    has_ended: bool
    """Whether it ended within the time that was looked at, so that `whole` is all of it."""
    was_alone: bool
    """Whether no other call was at the same server at any moment of it."""
    price: float | None
    """What a GPU of the pool cost for a second when the call was sent."""
    whole: Amount
    attributed: Amount
    allocated: Amount | None
    """None where nobody knows what was provided."""


class _Open(NamedTuple):
    end: float
    number: int
    call: Entry
    server: Meter
    mark: Amount
    price: float | None
    only: int
    """How many calls the server had seen when this one came alone; 0 when it did not."""
    station: Meter | None
    station_mark: Amount


class Sweep:
    """Divides a period's GPUs among the calls.

    Attributed: a server is a URL with a model and a pool, and is taken for one replica with the GPUs of the call.
    Allocated: all servers of a model in a pool are its replicas, as many as there were at the time.
    """

    def __init__(self, since: float, until: float, book: PriceBook | None, capacities: Capacities) -> None:
        self._since, self._until = since, until
        self._book = book
        self._capacities = capacities
        self._servers: dict[tuple[str, str, str], Meter] = {}
        self._stations: dict[tuple[str, str], Meter | None] = {}
        self._open: list[_Open] = []
        self._number = 0

    def parts(self, calls: Iterable[Entry]) -> Iterator[Part]:
        """Yields every call once it has ended, or the period has. The calls come in the order in which they started."""
        for call in calls:
            yield from self._closed(call.start)
            self._start(call)
        yield from self._closed(math.inf)

    def dark(self) -> dict[tuple[str, str], float]:
        """Returns for how many seconds there were calls of a model in a pool, and no replica that Prometheus knew."""
        return {key: meter.dark for key, meter in self._stations.items() if meter is not None and meter.dark}

    def _start(self, call: Entry) -> None:
        server = self._server(call)
        mark = server.shows(call.start)
        server.count += 1
        server.starts += 1
        only = server.starts if server.count == 1 else 0
        station, station_mark = self._station(call), Amount()
        if station is not None:
            station_mark = station.shows(call.start)
            station.count += 1
        self._number += 1
        end = call.start + call.seconds
        price = server.step.price
        heapq.heappush(self._open, _Open(end, self._number, call, server, mark, price, only, station, station_mark))

    def _closed(self, now: float) -> Iterator[Part]:
        while self._open and self._open[0].end <= now:
            yield self._part(heapq.heappop(self._open))

    def _part(self, one: _Open) -> Part:
        call, server, station = one.call, one.server, one.station
        at, is_sent = min(one.end, self._until), call.start >= self._since
        shown = server.shows(at)
        server.count -= 1
        whole = attributed = shown.less(one.mark, call.gpus)
        if not is_sent:
            attributed = server.since_the_beginning(one.mark, shown, call.gpus)
        allocated = None if call.gpus else Amount()
        if station is not None:
            shown = station.shows(at)
            station.count -= 1
            if call.gpus:
                mark = one.station_mark
                allocated = shown.less(mark, 1) if is_sent else station.since_the_beginning(mark, shown, 1)
        return Part(
            call,
            is_sent,
            has_ended=one.end <= self._until,
            was_alone=one.only == server.starts,
            price=one.price,
            whole=whole,
            attributed=attributed,
            allocated=allocated,
        )

    def _server(self, call: Entry) -> Meter:
        key = (call.endpoint, call.model, call.pool)
        if (meter := self._servers.get(key)) is None:
            one = [Capacity(-math.inf, 1.0, 1.0)]
            meter = self._servers[key] = self._meter(call, one)
        return meter

    def _station(self, call: Entry) -> Meter | None:
        key = (call.model, call.pool)
        if key not in self._stations:
            known = self._capacities.get(key)
            self._stations[key] = self._meter(call, known) if known is not None else None
        return self._stations[key]

    def _meter(self, call: Entry, capacities: Sequence[Capacity]) -> Meter:
        return Meter(steps(self._book, call.pool, capacities, [self._since]), self._since, call.start)
