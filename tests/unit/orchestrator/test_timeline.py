"""When segments start and end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longvideo.segments import Tree
from orchestrator.timeline import Timeline, pack


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=700), st.integers(2, 8))
def test_segments_start_with_their_first_frame_and_end_with_the_next(gaps: list[float], width: int) -> None:
    """A segment lasts from its first frame up to the frame after its last, or to the video's end."""
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    duration = float(times[-1]) + 0.5
    timeline, tree = Timeline(pack(times, duration), width), Tree(len(times), width)
    moments = [*times, duration]
    for segment in tree.walk():
        start, stop = tree.span(segment)
        assert timeline.offsets(segment) == (moments[start], moments[stop])


def test_message_has_the_times() -> None:
    """A segment goes over the wire with its path and both times."""
    timeline, tree = Timeline(pack(np.arange(64) * 0.25, 16.0), 4), Tree(64, 4)
    message = timeline.message(next(segment for segment in tree.walk() if segment.path == (2, 4, 1)))
    assert list(message.path) == [2, 4, 1]
    assert (message.start_offset.ToMilliseconds(), message.end_offset.ToMilliseconds()) == (7000, 7250)
