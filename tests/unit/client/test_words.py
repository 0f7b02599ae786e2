"""How things are written for a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import words


@pytest.mark.parametrize(
    ("moment", "fine", "written"),
    [
        (0, False, "0:00"),
        (187.5, False, "3:07"),
        (187.5, True, "3:07.5"),
        (3723, False, "1:02:03"),
        (59.99, False, "0:59"),
        (-1, False, "0:00"),
        (0.3, True, "0:00.3"),
    ],
)
def test_a_moment_is_written_as_a_clock_shows_it(moment: float, fine: bool, written: str) -> None:
    """Moments are cut, never rounded up to one that is not there yet."""
    assert words.clock(moment, fine=fine) == written


@given(st.text())
def test_clean_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    """Whatever a model says, no control character but the line end is left, and it can be written as UTF-8."""
    cleaned = words.clean(text)
    cleaned.encode()
    assert all(character == "\n" or character.isprintable() or not character.isascii() for character in cleaned)
    assert not any("\x80" <= character <= "\x9f" or "\u202a" <= character <= "\u202e" for character in cleaned)


@given(st.text(), st.integers(10, 100))
def test_one_line_is_one_line(text: str, limit: int) -> None:
    """A line has no line end, and is cut at a word with a sign that it was."""
    line = words.one_line(text, limit)
    assert len(line.splitlines()) <= 1
    assert len(line) <= limit + 1


@pytest.mark.parametrize(
    ("count", "written"), [(0, "0 B"), (999, "999 B"), (1_400_000_000, "1.4 GB"), (5e15, "5e+03 TB")]
)
def test_a_size_is_written_in_its_unit(count: int, written: str) -> None:
    """Sizes have three digits and a unit."""
    assert words.size(count) == written


@pytest.mark.parametrize(("count", "written"), [(0, "0 captions"), (1, "1 caption"), (1200, "1,200 captions")])
def test_one_is_not_many(count: int, written: str) -> None:
    """A noun follows its number."""
    assert words.plural(count, "caption") == written
