"""What a GPU costs: the price book, a file that the operator writes.

    currency = "EUR"

    [[prices]]
    pool = "h800"
    gpu_hour = 2.5
    valid_from = 2026-01-01
    source = "contract 4711, page 3"

    [[alone]]
    role = "caption"
    model = "Qwen3-VL-32B-Instruct"
    pool = "h800"
    seconds = 6.4
    source = "measured on 2026-01-15, one request at a time"

It is TOML, or JSON with the same names where the file is called `.json`. No price is known but those in here.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from longvideo.errors import BadSettings
from longvideo.usage import ROLES, Call

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_HOUR: Final = 3600.0


class Price(NamedTuple):
    """What a GPU of a pool costs for an hour, from a moment on: until the pool's next price."""

    pool: str
    gpu_hour: float
    valid_from: float
    source: str


class Alone(NamedTuple):
    """How long a call takes that has a model for itself, as somebody measured it."""

    role: str
    model: str
    pool: str
    seconds: float
    source: str


class PriceBook:
    """Prices by pool and time, in one currency."""

    def __init__(self, currency: str, prices: Iterable[Price], alone: Iterable[Alone] = ()) -> None:
        """Makes a book of prices, no two of which are of one pool from one moment on."""
        self.currency = currency
        self._prices: dict[str, list[Price]] = {}
        for price in sorted(prices, key=lambda price: price.valid_from):
            self._prices.setdefault(price.pool, []).append(price)
        self._starts = {pool: [price.valid_from for price in found] for pool, found in self._prices.items()}
        self._alone = {(each.role, each.model, each.pool): each.seconds for each in alone}

    def price(self, pool: str, at_time: float) -> float | None:
        """Returns what a GPU of a pool costs for an hour at a moment (seconds since the epoch); None if not known."""
        place = bisect.bisect_right(self._starts.get(pool, ()), at_time)
        return self._prices[pool][place - 1].gpu_hour if place else None

    def cost(self, pool: str, start: float, end: float) -> float | None:
        """Returns what a GPU of a pool costs from one moment to another; None where a price is not known."""
        starts = self._starts.get(pool, [])
        first = bisect.bisect_right(starts, start)
        if not first:
            return None
        bounds = [start, *starts[first : bisect.bisect_left(starts, end)], end]
        hours = (max(0.0, until - since) / _HOUR for since, until in itertools.pairwise(bounds))
        return sum(price.gpu_hour * each for price, each in zip(self._prices[pool][first - 1 :], hours, strict=False))

    def of(self, call: Call) -> float | None:
        """Returns what the GPUs of a call cost while it lasted; None where a price is not known."""
        cost = self.cost(call.pool, call.start_time, call.start_time + call.seconds) if call.gpus else 0.0
        return None if cost is None else call.gpus * cost

    def changes(self, pool: str) -> list[tuple[float, float]]:
        """Returns the prices of a pool's GPU-hour, each with the moment from which on it holds, in order."""
        return [(price.valid_from, price.gpu_hour) for price in self._prices.get(pool, ())]

    def alone(self, role: str, model: str, pool: str) -> float | None:
        """Returns how many seconds a call takes that has a model for itself, where the book says it."""
        return self._alone.get((role, model, pool))


def load(path: Path | None) -> PriceBook | None:
    """Returns the book in a file, or None where there is none. Raises BadSettings, naming the entry and the fix."""
    if path is None:
        return None
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise _bad(f"price_book is {path}, which cannot be read: {error.strerror}") from None
    except ValueError:
        raise _bad(f"price_book is {path}, which holds no text") from None
    is_json = path.suffix == ".json"
    try:
        found = json.loads(text) if is_json else tomllib.loads(text)
    except ValueError as error:
        raise _bad(f"price_book is {path}, which is not {'JSON' if is_json else 'TOML'}: {error}") from None
    try:
        return _book(found)
    except _Wrong as wrong:
        raise _bad(f"The price book {path} is wrong: {wrong}") from None


class _Wrong(Exception):
    """An entry is wrong; the message names it, its value and the fix."""


def _bad(message: str) -> BadSettings:
    return BadSettings(message, setting="price_book")


def _book(found: Any) -> PriceBook:
    if not isinstance(found, dict):
        raise _Wrong("it must be an object with currency and prices")
    _check_names("", found, {"currency", "prices"}, {"alone"})
    currency = found["currency"]
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise _Wrong(f"currency is {currency!r}; give its three letters, such as EUR")
    prices = [Price(**entry) for entry in _entries(found, "prices", Price._fields)]
    alone = [Alone(**entry) for entry in _entries(found, "alone", Alone._fields)]
    _check_once("prices", [(price.pool, price.valid_from) for price in prices], "pool and valid_from")
    _check_once("alone", [each[:3] for each in alone], "role, model and pool")
    return PriceBook(currency, prices, alone)


def _entries(found: Mapping[str, Any], key: str, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    entries = found.get(key, [])
    if not isinstance(entries, list):
        raise _Wrong(f"{key} must be a list, in TOML [[{key}]]")
    read = []
    for number, entry in enumerate(entries, 1):
        where = f"{key} number {number}"
        if not isinstance(entry, dict):
            raise _Wrong(f"{where} must have {', '.join(fields)}")
        _check_names(f"{where}: ", entry, set(fields), set())
        read.append({name: _READERS[name](f"{where}: {name}", entry[name]) for name in fields})
    return read


def _check_names(where: str, given: Mapping[str, Any], needed: set[str], allowed: set[str]) -> None:
    if unknown := sorted(given.keys() - needed - allowed):
        raise _Wrong(f"{where}{unknown[0]} means nothing; there are {', '.join(sorted(needed | allowed))}")
    if missing := sorted(needed - given.keys()):
        raise _Wrong(f"{where}{missing[0]} is missing")


def _check_once(key: str, names: list[tuple[Any, ...]], what: str) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise _Wrong(
                f"{key} number {number + 1} has the {what} of number {names.index(name) + 1}; take one of them out"
            )


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(f"{where} is {value!r}; give a text")
    return value


def _role(where: str, value: Any) -> str:
    if value not in ROLES:
        raise _Wrong(f"{where} is {value!r}; give one of {', '.join(ROLES)}")
    return str(value)


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise _Wrong(f"{where} is {value!r}; give a number, 0 or more")
    return float(value)


def _seconds(where: str, value: Any) -> float:
    if not (number := _number(where, value)):
        raise _Wrong(f"{where} is {value!r}; give a number above 0")
    return number


def _moment(where: str, value: Any) -> float:
    """Returns a day, from its first moment on, or a time; in UTC where it does not say its zone."""
    try:
        read = datetime.fromisoformat(value.isoformat() if isinstance(value, date) else value)
    except (TypeError, ValueError):
        raise _Wrong(
            f"{where} is {value!r}; give a day such as 2026-01-01, or a time such as 2026-01-01T08:00Z"
        ) from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


_READERS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "pool": _text,
    "model": _text,
    "source": _text,
    "role": _role,
    "gpu_hour": _number,
    "seconds": _seconds,
    "valid_from": _moment,
}
