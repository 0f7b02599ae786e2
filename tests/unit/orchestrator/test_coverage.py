"""What an episode looked at, as arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.segments import Segment, Tree
from orchestrator.coverage import Coverage, Evidence, Look, coverage, evidence

TREE = Tree(6400, 4)


def test_no_looks() -> None:
    """An episode that opened nothing has no evidence and covers nothing."""
    assert evidence([]) == []
    assert coverage([], TREE) == Coverage(0.0, 0.0, 0.0)


def test_evidence_is_in_the_order_of_the_first_opening() -> None:
    """A segment that was read and then asked about is one piece of evidence, of its first round."""
    low, medium = Segment((2, 4, 1)), Segment((2, 4))
    looks = [Look(1, medium, False), Look(2, low, True), Look(3, low, False), Look(5, medium, False)]
    assert evidence(looks) == [Evidence(medium, 1, True, False), Evidence(low, 2, True, True)]


def test_overlaps_count_once() -> None:
    """A low segment within a medium one adds nothing to what was opened."""
    looks = [Look(1, Segment((2, 4)), False), Look(2, Segment((2, 4, 1)), True), Look(3, Segment((1, 1, 1)), False)]
    found = coverage(looks, TREE)
    assert found.opened == pytest.approx(1 / 16 + 1 / 64)
    assert found.low == pytest.approx(2 / 64)
    assert found.inspected == pytest.approx(1 / 64)


def test_everything_is_one() -> None:
    """A whole level covers the whole video."""
    looks = [Look(number, segment, True) for number, segment in enumerate(TREE.segments(3), start=1)]
    assert coverage(looks, TREE) == Coverage(1.0, 1.0, 1.0)


def test_video_without_frames_in_a_segment() -> None:
    """Segments without a frame cover nothing."""
    assert coverage([Look(1, Segment((4, 4, 4)), True)], Tree(3, 4)) == Coverage(0.0, 0.0, 0.0)


paths = st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple)


@given(st.lists(st.tuples(paths, st.booleans())), st.integers(1, 2000))
def test_shares_are_those_of_the_frames(looked: list[tuple[tuple[int, ...], bool]], frames: int) -> None:
    """Each share is the number of frames in at least one such segment, over all frames."""
    tree = Tree(frames, 5)
    looks = [Look(number, Segment(path), inspected) for number, (path, inspected) in enumerate(looked, start=1)]

    def share(chosen: list[Look]) -> float:
        return len({frame for look in chosen for frame in range(*tree.span(look.segment))}) / frames

    low = [look for look in looks if look.segment.level == 3]
    inspected = [look for look in looks if look.inspected]
    assert coverage(looks, tree) == Coverage(share(looks), share(low), share(inspected))
