"""Moving samples to keyframes: how far, and what always stays true."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longvideo.segments import Span, sample
from longvideo.video import FileSource, VideoIndex, build_index, choose_frames, near_keyframes
from longvideo.video.demux import KEY
from tests.media import make_video


@functools.cache
def indexed() -> VideoIndex:
    """Returns the index of a real video."""
    with tempfile.TemporaryDirectory() as directory:
        path = make_video(Path(directory) / "film.mp4", seconds=0.5, fps=20)
        with FileSource(path) as source:
            return build_index(source)


def index(times: list[float], keys: list[int]) -> VideoIndex:
    """Returns an index of frames shown at these times, of which some are keyframes."""
    count = len(times)
    flags = np.zeros(count, np.uint8)
    flags[keys] = KEY
    return dataclasses.replace(
        indexed(),
        times=np.array(times, np.float64),
        duration=times[-1] + 1,
        packet_ranks=np.arange(count),
        packet_flags=flags,
    )


def regular(count: int, every: int) -> VideoIndex:
    """Returns an index of one frame a second, each `every`-th a keyframe."""
    return index([float(n) for n in range(count)], list(range(0, count, every)))


def test_a_sample_moves_to_a_keyframe_within_a_quarter() -> None:
    """Samples 20 s apart move by up to five seconds, forwards or backwards, and no further."""
    video = index([float(n) for n in range(101)], [5, 14, 26, 47, 66, 79, 100])
    chosen = near_keyframes(video, Span(0, 101), [0, 20, 40, 60, 80, 100])
    assert chosen.frames == (5, 20, 40, 60, 79, 100)
    assert (chosen.moved, chosen.mean_move, chosen.max_move) == (2, 3.0, 5.0)


def test_the_nearer_of_two_keyframes() -> None:
    """Between two keyframes in reach, the nearer one is taken; of two equally near ones, the earlier."""
    video = index([float(n) for n in range(81)], [38, 43, 78])
    assert near_keyframes(video, Span(0, 81), [0, 40, 80]).frames == (0, 38, 78)
    video = index([float(n) for n in range(81)], [38, 42])
    assert near_keyframes(video, Span(0, 81), [0, 40, 80]).frames == (0, 38, 80)


def test_time_counts_and_not_the_number_of_frames() -> None:
    """In a video of variable rate, a keyframe one frame away may lie too far in time."""
    video = index([0.0, 1.0, 2.0, 3.0, 9.0, 9.5, 10.0, 11.0, 12.0], [4])
    assert near_keyframes(video, Span(0, 9), [0, 3, 8]).frames == (0, 3, 8)
    assert near_keyframes(video, Span(0, 9), [0, 5, 8]).frames == (0, 4, 8)


def test_a_keyframe_of_the_neighbour_is_not_taken() -> None:
    """Frames outside the span are another segment's."""
    video = regular(100, 30)
    assert near_keyframes(video, Span(31, 90), [31, 60, 89]).frames == (31, 60, 89)


def test_exact_and_single_samples_stay() -> None:
    """Nothing moves in exact mode, nor when there is but one frame, nor in a video without keyframes."""
    video = regular(1000, 7)
    assert choose_frames(video, Span(0, 1000), 16, "exact").frames == tuple(sample(Span(0, 1000), 16))
    assert choose_frames(video, Span(3, 900), 1, "keyframe").frames == (3,)
    assert choose_frames(video, Span(3, 3), 16, "keyframe").frames == ()
    assert near_keyframes(index([0.0, 1.0, 2.0], []), Span(0, 3), [0, 2]).frames == (0, 2)


def test_dense_samples_stay() -> None:
    """Where the samples are as dense as the frames, none can move."""
    chosen = choose_frames(regular(32, 4), Span(0, 32), 32, "keyframe")
    assert (chosen.frames, chosen.moved) == (tuple(range(32)), 0)


def test_far_apart_samples_are_all_keyframes() -> None:
    """When samples lie more than two keyframes' distance apart, every one of them becomes a keyframe."""
    video = regular(36_001, 8)
    chosen = choose_frames(video, Span(0, 36_001), 128, "keyframe")
    assert all(frame % 8 == 0 for frame in chosen.frames)
    assert chosen.max_move <= 4


@settings(deadline=None)
@given(data=st.data())
def test_what_always_holds(data: st.DataObject) -> None:
    """Order is kept, nothing repeats or leaves the span, and no frame moves further than its reach."""
    steps = data.draw(st.lists(st.sampled_from([0.0, 0.01, 0.04, 0.5, 7.0]), min_size=2, max_size=80))
    times = [float(time) for time in np.cumsum(steps)]
    keys = data.draw(st.lists(st.integers(0, len(times) - 1), unique=True, max_size=20))
    start = data.draw(st.integers(0, len(times) - 1))
    span = Span(start, data.draw(st.integers(start + 1, len(times))))
    video = index(times, keys)
    asked = sample(span, data.draw(st.integers(1, 30)))
    chosen = near_keyframes(video, span, asked)

    assert len(chosen.frames) == len(asked)
    assert list(chosen.frames) == sorted(set(chosen.frames))
    assert all(span.start <= frame < span.stop for frame in chosen.frames)
    moves = [abs(times[new] - times[old]) for new, old in zip(chosen.frames, asked, strict=True) if new != old]
    assert all(new in keys for new, old in zip(chosen.frames, asked, strict=True) if new != old)
    assert chosen.moved == len(moves)
    if moves:
        assert chosen.max_move == pytest.approx(max(moves))
        assert chosen.mean_move == pytest.approx(sum(moves) / len(moves))
        assert chosen.max_move <= 0.25 * max(np.diff(np.array(times)[asked])) + 1e-9
