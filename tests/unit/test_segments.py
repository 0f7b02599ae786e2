"""The tree, its spans and its samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.errors import InvalidArgument
from longvideo.segments import Segment, Span, Tree, sample, tree_width

widths = st.integers(2, 8)
counts = st.integers(1, 300_000)


@pytest.mark.parametrize(
    ("duration", "width"),
    [(0, 4), (60, 4), (1200, 4), (1457, 4), (1459, 5), (2460, 5), (3600, 6), (7200, 8), (36_000, 8)],
)
def test_width_follows_the_formula(duration: float, width: int) -> None:
    """The width is the rounded cube root of the duration in units of 16 s, from 4 to 8."""
    assert tree_width(duration) == width


def test_width_bound_can_be_lowered() -> None:
    """A lower bound of 3 gives short videos a tree of width 3."""
    assert tree_width(500, 3) == 3


@pytest.mark.parametrize("bound", [-1, 0, 1, 9])
def test_width_bound_has_limits(bound: int) -> None:
    """A lower bound outside 2 to 8 is refused by name."""
    with pytest.raises(InvalidArgument, match="min_width"):
        tree_width(500, bound)


@given(count=counts, width=widths, level=st.integers(1, 2), data=st.data())
def test_children_partition_their_parent(count: int, width: int, level: int, data: st.DataObject) -> None:
    """The children of any segment cover it without gap or overlap, and differ by at most one frame."""
    tree = Tree(count, width)
    parent = Segment(tuple(data.draw(st.integers(1, width)) for _ in range(level)))
    spans = [tree.span(Segment((*parent.path, number))) for number in range(1, width + 1)]

    assert spans[0].start == tree.span(parent).start
    assert spans[-1].stop == tree.span(parent).stop
    assert all(left.stop == right.start for left, right in itertools.pairwise(spans))
    assert max(map(len, spans)) - min(map(len, spans)) <= 1


@given(count=counts, width=widths)
def test_high_segments_are_array_split(count: int, width: int) -> None:
    """High segments are the chunks that numpy.array_split makes."""
    chunks = np.array_split(np.arange(count), width)

    assert [len(Tree(count, width).span(Segment((n,)))) for n in range(1, width + 1)] == list(map(len, chunks))


def test_low_segments_lie_inside_their_captions() -> None:
    """On the frame counts where a flat split would drift by seconds, a low segment lies within its medium one."""
    tree = Tree(215_784, 8)  # two hours at 29.97 frames per second

    assert all(
        tree.span(Segment(low.path[:2])).start <= tree.span(low).start
        and tree.span(low).stop <= tree.span(Segment(low.path[:2])).stop
        for low in tree.segments(3)
    )


@pytest.mark.parametrize("path", [(0,), (5,), (1, 9), (1, 1, -1), (10**30,)])
def test_ids_outside_the_tree_are_refused(path: tuple[int, ...]) -> None:
    """An id outside 1 to the width raises an error that says the range."""
    with pytest.raises(InvalidArgument, match="from 1 to 4"):
        Tree(1000, 4).span(Segment(path))


@pytest.mark.parametrize("path", [(), (1, 1, 1, 1)])
def test_paths_have_one_to_three_ids(path: tuple[int, ...]) -> None:
    """A path of no or four ids is not a segment."""
    with pytest.raises(InvalidArgument):
        Segment(path)


def test_walk_is_in_tree_order() -> None:
    """A walk names each segment before its children, and all of them."""
    walked = [str(segment) for segment in Tree(1000, 2).walk()]

    assert walked[:5] == ["(1)", "(1,1)", "(1,1,1)", "(1,1,2)", "(1,2)"]
    assert len(walked) == 2 + 4 + 8


def test_walk_leaves_out_empty_segments() -> None:
    """A video of three frames has three segments that hold one, at every level."""
    assert [segment.path for segment in Tree(3, 4).walk()] == [
        (1,), (1, 1), (1, 1, 1), (2,), (2, 1), (2, 1, 1), (3,), (3, 1), (3, 1, 1),
    ]  # fmt: skip


@given(start=st.integers(0, 10**6), length=st.integers(0, 10**5), count=st.integers(1, 128))
def test_samples_lie_in_the_span(start: int, length: int, count: int) -> None:
    """A sample is sorted, without repeats, inside the span, and as large as it can be."""
    span = Span(start, start + length)
    frames = sample(span, count)

    assert frames == sorted(set(frames))
    assert all(span.start <= frame < span.stop for frame in frames)
    assert len(frames) == min(count, length)


def test_sample_holds_both_ends() -> None:
    """The first and the last frame of a span are sampled, and those between are linspace's."""
    assert sample(Span(10, 111), 5) == [10, 35, 60, 85, 110]
