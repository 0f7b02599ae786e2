"""Pages and their tokens."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.errors import InvalidArgument
from longvideo.v1 import types_pb2
from orchestrator import paging
from orchestrator.paging import Cursor


def test_sizes() -> None:
    """No size means 50, a large one 1,000, and a negative one is refused."""
    assert [paging.size(asked) for asked in (0, 1, 1000, 1001, 2**31 - 1)] == [50, 1, 1000, 1000, 1000]
    with pytest.raises(InvalidArgument, match="page_size is -1; it must be 0 or more"):
        paging.size(-1)


@given(st.floats(0, 1e11), st.text(max_size=64), st.text())
def test_token_gives_the_cursor_back(time: float, item: str, query: str) -> None:
    """A token of a list gives exactly the cursor it was made of."""
    assert paging.decode(paging.encode(query, Cursor(time, item)), query) == Cursor(time, item)


def test_first_page_has_no_token() -> None:
    """An empty token means the first page."""
    assert paging.decode("", "videos") is None


def test_token_of_another_list() -> None:
    """A token is refused for other arguments than those it was made for."""
    token = paging.encode("jobs of videos/a", Cursor(1.0, "x"))
    with pytest.raises(InvalidArgument, match="page_token belongs to another list"):
        paging.decode(token, "jobs of videos/b")


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_forged_tokens(token: str) -> None:
    """Whatever else is given as a token is refused."""
    with pytest.raises(InvalidArgument, match="page_token"):
        paging.decode(token, "videos")


def test_page_fits_a_message() -> None:
    """A page ends before it is too large, has at least one item, and its token goes on behind the last."""
    items = [types_pb2.Caption(text="x" * size) for size in (3_000_000, 1_000_000, 1_000_000)]
    given_items = list(paging.fitting(items))
    assert given_items == items[:2]
    assert list(paging.fitting([types_pb2.Caption(text="x" * 6_000_000)] * 2)) == [
        types_pb2.Caption(text="x" * 6_000_000)
    ]
    token = paging.next_token("q", [1.0, 2.0, 3.0], 2, lambda item: Cursor(item, ""))
    assert paging.decode(token, "q") == Cursor(2.0, "")
    assert paging.next_token("q", [1.0, 2.0], 2, lambda item: Cursor(item, "")) == ""
