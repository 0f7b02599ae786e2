"""The price book: what is read, what is refused, and what a price is at a moment."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo import prices
from longvideo.errors import BadSettings
from longvideo.prices import Price, PriceBook

_BOOK = """
currency = "EUR"

[[prices]]
pool = "h800"
gpu_hour = 3
valid_from = 2026-07-01T08:00:00+08:00
source = "contract 2"

[[prices]]
pool = "h800"
gpu_hour = 2.5
valid_from = 2026-01-01
source = "contract 1"

[[alone]]
role = "reason"
model = "longvideor1"
pool = "h800"
seconds = 2.5
source = "measured"
"""
_ENTRY = {"pool": "h800", "gpu_hour": 2, "valid_from": "2026-01-01", "source": "contract"}


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _read(folder: Path, text: str, name: str = "prices.toml") -> PriceBook | None:
    path = folder / name
    path.write_text(text, "utf-8")
    return prices.load(path)


def test_a_price_holds_from_its_day_to_the_next_one(tmp_path: Path) -> None:
    """A day begins at midnight in UTC, entries may be in any order, and before the first there is no price."""
    book = _read(tmp_path, _BOOK)
    assert book is not None
    assert book.currency == "EUR"
    assert book.price("h800", _moment("2025-12-31T23:59:59Z")) is None
    assert book.price("h800", _moment("2026-01-01T00:00:00Z")) == 2.5
    assert book.price("h800", _moment("2026-06-30T23:59:59Z")) == 2.5
    assert book.price("h800", _moment("2026-07-01T00:00:00Z")) == 3
    assert book.price("a800", _moment("2026-07-01T00:00:00Z")) is None


def test_a_cost_follows_the_prices(tmp_path: Path) -> None:
    """Time across a change of price costs what its parts cost; what time before the first price costs, nobody knows."""
    book = _read(tmp_path, _BOOK)
    assert book is not None
    change = _moment("2026-07-01T00:00:00Z")
    assert book.cost("h800", change - 7200, change + 3600) == pytest.approx(2 * 2.5 + 3)
    assert book.cost("h800", change, change) == 0
    assert book.cost("h800", _moment("2025-12-31T23:00:00Z"), change) is None
    assert book.cost("a800", change, change + 1) is None


@given(
    st.dictionaries(st.integers(0, 50), st.floats(0, 100), min_size=1, max_size=8),
    st.integers(0, 60),
    st.integers(0, 30),
)
def test_a_cost_is_the_sum_over_all_seconds(changes: dict[int, float], start: int, length: int) -> None:
    """What is asked for at once costs what its seconds cost one by one."""
    book = PriceBook("EUR", [Price("h800", cost, at, "test") for at, cost in changes.items()])
    seconds = [book.price("h800", second) for second in range(start, start + length)]
    if start < min(changes):
        assert book.cost("h800", start, start + length) is None
        return
    expected = sum(price / 3600 for price in seconds if price is not None)
    assert book.cost("h800", start, start + length) == pytest.approx(expected)


def test_how_long_a_call_takes_alone_is_read(tmp_path: Path) -> None:
    """Measured seconds are found by role, model and pool."""
    book = _read(tmp_path, _BOOK)
    assert book is not None
    assert book.alone("reason", "longvideor1", "h800") == 2.5
    assert book.alone("reason", "longvideor1", "a800") is None


def test_json_is_read_too(tmp_path: Path) -> None:
    """A file called .json holds the same as JSON; no file is no book."""
    book = _read(tmp_path, json.dumps({"currency": "CNY", "prices": [_ENTRY]}), "prices.json")
    assert book is not None
    assert book.price("h800", _moment("2026-01-01T00:00:00Z")) == 2
    assert prices.load(None) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"currency": "euro"}, "currency is 'euro'; give its three letters, such as EUR"),
        ({"currency": None}, "currency is missing"),
        ({"price": []}, "price means nothing; there are alone, currency, prices"),
        ({"prices": {}}, "prices must be a list"),
        ({"prices": [1]}, "prices number 1 must have pool, gpu_hour, valid_from, source"),
        ({"prices": [{**_ENTRY, "gpu_hour": -1}]}, "prices number 1: gpu_hour is -1; give a number, 0 or more"),
        ({"prices": [{**_ENTRY, "gpu_hour": True}]}, "gpu_hour is True"),
        ({"prices": [{**_ENTRY, "gpu_hour": "2"}]}, "gpu_hour is '2'"),
        ({"prices": [{**_ENTRY, "gpu_hour": float("nan")}]}, "gpu_hour is nan"),
        ({"prices": [{**_ENTRY, "pool": " "}]}, "pool is ' '; give a text"),
        ({"prices": [{**_ENTRY, "source": None}]}, "source is None; give a text"),
        ({"prices": [{**_ENTRY, "valid_from": "soon"}]}, "valid_from is 'soon'; give a day such as 2026-01-01"),
        ({"prices": [{**_ENTRY, "valid_from": 2026}]}, "valid_from is 2026"),
        ({"prices": [{**_ENTRY, "validFrom": "2026-01-01"}]}, "prices number 1: validFrom means nothing"),
        ({"prices": [{"pool": "h800"}]}, "prices number 1: gpu_hour is missing"),
        ({"prices": [_ENTRY, _ENTRY]}, "prices number 2 has the pool and valid_from of number 1"),
        ({"alone": [{"role": "see", "model": "m", "pool": "p", "seconds": 1, "source": "s"}]}, "role is 'see'"),
        ({"alone": [{"role": "qa", "model": "m", "pool": "p", "seconds": 0, "source": "s"}]}, "a number above 0"),
    ],
)
def test_wrong_entries_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    """Whatever is wrong stops the process with the entry, its value and the fix; nothing is left out silently."""
    book = {"currency": "EUR", "prices": [_ENTRY], **change}
    text = json.dumps({name: value for name, value in book.items() if value is not None})
    with pytest.raises(BadSettings) as caught:
        _read(tmp_path, text, "prices.json")
    assert message in caught.value.message
    assert caught.value.metadata == {"setting": "price_book"}


def test_what_is_no_book_is_refused(tmp_path: Path) -> None:
    """A file that is not there, holds no text, or is not TOML is named."""
    with pytest.raises(BadSettings, match="which cannot be read: No such file"):
        prices.load(tmp_path / "none.toml")
    with pytest.raises(BadSettings, match="which is not TOML"):
        _read(tmp_path, "currency: EUR")
    with pytest.raises(BadSettings, match="which is not JSON"):
        _read(tmp_path, "currency: EUR", "prices.json")
    (tmp_path / "prices.toml").write_bytes(b"\xff")
    with pytest.raises(BadSettings, match="which holds no text"):
        prices.load(tmp_path / "prices.toml")
