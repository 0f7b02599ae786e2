"""Reading frames: what comes back, what is read and decoded for it, and what happens to damage."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from longvideo.errors import BadMedia, DeadlineExceeded, InvalidArgument, VideoChanged
from longvideo.video import FileSource, VideoIndex, build_index, read_frames
from longvideo.video.demux import KEY
from longvideo.video.packets import MAX_READ, open_packets
from longvideo.video.picture import fit
from tests.media import make_video, read_number

from .conftest import Opened


class Counted(FileSource):
    """A file that remembers which ranges were read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ranges: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.ranges.append((offset, length))
        return super().read(offset, length)


def test_frames_come_back_in_the_order_asked(opened: Opened) -> None:
    """Frames keep the caller's order and repetitions, and each carries its own time."""
    source, index = opened
    frames = read_frames(source, index, [40, 3, 3, 59], 160)
    assert [frame.index for frame in frames] == [40, 3, 3, 59]
    assert [read_number(frame.jpeg) for frame in frames] == [40, 3, 3, 59]
    assert [frame.time for frame in frames] == pytest.approx([40 / 30, 0.1, 0.1, 59 / 30])


def test_no_frames_asked_is_no_work(opened: Opened) -> None:
    """An empty request gives an empty answer."""
    assert read_frames(*opened, [], 100) == []


@pytest.mark.parametrize(
    ("longest_side", "size"), [(4000, (160, 96)), (160, (160, 96)), (80, (80, 48)), (33, (33, 20)), (1, (1, 1))]
)
def test_pictures_are_scaled_down_and_never_up(opened: Opened, longest_side: int, size: tuple[int, int]) -> None:
    """The longer side is at most what was asked, the shape is kept, and small pictures stay as they are."""
    (frame,) = read_frames(*opened, [7], longest_side)
    assert (frame.width, frame.height) == size
    assert simplejpeg.decode_jpeg_header(frame.jpeg)[:2] == size[::-1]


@settings(deadline=None)
@given(st.integers(1, 16384), st.integers(1, 16384), st.integers(1, 5000))
def test_fitting_keeps_the_shape(width: int, height: int, longest_side: int) -> None:
    """A fitted picture is never larger, never longer than asked, and keeps its shape to half a pixel."""
    fitted = fit(width, height, longest_side)
    assert fitted[0] <= width
    assert fitted[1] <= height
    assert max(fitted) <= longest_side
    scale = min(1, longest_side / max(width, height))
    assert abs(fitted[0] - max(1, width * scale)) <= 0.5
    assert abs(fitted[1] - max(1, height * scale)) <= 0.5


def test_a_tall_picture_is_measured_along_its_height(video: Callable[..., Path]) -> None:
    """For a phone's upright video the longest side is the height."""
    with FileSource(video(turned=90, width=96, height=160)) as source:
        (frame,) = read_frames(source, build_index(source), [9], 80)
    assert (frame.width, frame.height) == (48, 80)
    assert read_number(frame.jpeg) == 9


@pytest.mark.parametrize("frame", [-1, 60, 10**9])
def test_a_frame_outside_the_video_is_refused(opened: Opened, frame: int) -> None:
    """An index that does not exist is named, with those that do."""
    with pytest.raises(InvalidArgument, match=f"frame {frame} does not exist.*from 0 to 59"):
        read_frames(*opened, [5, frame], 100)


def test_a_size_below_one_pixel_is_refused(opened: Opened) -> None:
    """A longest side of nothing is an invalid argument."""
    with pytest.raises(InvalidArgument, match="longest_side is 0"):
        read_frames(*opened, [5], 0)


def test_another_file_than_the_indexed_one_is_noticed(plain: Path, tmp_path: Path) -> None:
    """An index is only used with the bytes it was made from."""
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(plain.read_bytes())
    with FileSource(copy) as source:
        index = build_index(source)
    copy.write_bytes(plain.read_bytes() + b"more")
    with FileSource(copy) as source, pytest.raises(VideoChanged):
        read_frames(source, index, [1], 100)


def test_a_file_that_changes_between_reads_is_noticed(plain: Path, tmp_path: Path) -> None:
    """A file written to while it is open gives no frames any more."""
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(plain.read_bytes())
    with FileSource(copy) as source:
        index = build_index(source)
        os.utime(copy, ns=(5, 5))
        with pytest.raises(VideoChanged):
            read_frames(source, index, [1], 100)


def test_a_passed_deadline_ends_the_work(opened: Opened) -> None:
    """Decoding stops when the time is up."""
    with pytest.raises(DeadlineExceeded, match=r"plain\.mp4"):
        read_frames(*opened, [30], 100, deadline=time.monotonic() - 1)


def test_only_the_bytes_of_the_groups_touched_are_read(video: Callable[..., Path]) -> None:
    """Two frames of a long file cost two short reads, and the container is not opened again."""
    path = video(seconds=20, gop=30)
    with Counted(path) as source:
        index = build_index(source)
        source.ranges.clear()
        frames = read_frames(source, index, [100, 500], 100)
        assert [read_number(frame.jpeg) for frame in frames] == [100, 500]
        assert len(source.ranges) == 2
        assert sum(length for _, length in source.ranges) < source.size / 10


def test_reads_stop_at_the_last_frame_wanted(video: Callable[..., Path]) -> None:
    """Nothing after the last wanted packet is read."""
    with Counted(video(gop=60, bframes=0)) as source:
        index = build_index(source)
        source.ranges.clear()
        read_frames(source, index, [10], 100)
        ((offset, length),) = source.ranges
        assert offset + length == index.packet_offsets[10] + index.packet_sizes[10]


def test_large_groups_are_read_in_parts(opened: Opened) -> None:
    """No single read grows with the group of pictures."""
    source, index = opened
    reader = open_packets(source, index)
    assert [number for number, _ in reader.read(range(60))] == list(range(60))
    assert MAX_READ <= 16 << 20


def test_pictures_nobody_needs_are_not_decoded(video: Callable[..., Path]) -> None:
    """Frames that no other refers to are marked as such, and only they are."""
    with FileSource(video(gop=30, bframes=2)) as source:
        index = build_index(source)
        disposable = (index.packet_flags & 8) > 0
        assert 20 < disposable.sum() < 45
        assert not disposable[index.packet_flags & KEY > 0].any()


def test_a_damaged_group_leaves_the_others_alone(video: Callable[..., Path]) -> None:
    """Damaged frames are left out; every frame that comes back is the right one."""
    path = video("a.mp4", codec="av1", seconds=4, gop=20)
    with FileSource(path) as source:
        index = build_index(source)
    data = bytearray(path.read_bytes())
    start = int(index.packet_offsets[45])
    data[start : start + int(index.packet_sizes[45])] = bytes(int(index.packet_sizes[45]))
    path.write_bytes(data)
    with FileSource(path) as source:
        frames = read_frames(source, build_index(source), range(120), 100)
    found = [frame.index for frame in frames]
    assert [read_number(frame.jpeg) for frame in frames] == found
    assert set(range(40)) | set(range(60, 120)) <= set(found)
    assert len(found) < 120


def test_nothing_decodable_is_an_error(video: Callable[..., Path]) -> None:
    """When not one of the frames asked for can be decoded, that is said."""
    path = video(seconds=4, gop=20, bframes=0)
    with FileSource(path) as source:
        index = build_index(source)
    data = bytearray(path.read_bytes())
    start, end = int(index.packet_offsets[40]), int(index.packet_offsets[60])
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with FileSource(path) as source, pytest.raises(BadMedia, match="none of the 2 frames") as caught:
        read_frames(source, build_index(source), [45, 50], 100)
    assert caught.value.reason == "MEDIA_DAMAGED"


def test_parameters_may_change_at_a_keyframe(opened: Opened) -> None:
    """Each group of pictures is decoded with the parameters that hold for it."""
    source, index = opened
    parts = dataclasses.replace(index, extradata=((0, b"other"), (20, index.extradata[0][1])))
    stored = VideoIndex.from_bytes(parts.to_bytes())
    assert stored.extradata == parts.extradata
    assert [read_number(frame.jpeg) for frame in read_frames(source, stored, [5, 30, 50], 100)] == [30, 50]


def test_colours_survive(video: Callable[..., Path]) -> None:
    """A picture of one colour comes back in that colour, whole and scaled."""
    colour = (200, 60, 40)

    def paint(number: int, width: int, height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.full((height, width, 3), colour, np.uint8)

    with FileSource(video(paint=paint, seconds=0.3)) as source:
        index = build_index(source)
        for side in (160, 40):
            (frame,) = read_frames(source, index, [4], side)
            assert np.abs(simplejpeg.decode_jpeg(frame.jpeg).astype(int) - colour).max() < 12


def test_memory_follows_the_frames_wanted(tmp_path: Path) -> None:
    """Two frames, 399 apart in one group of pictures, take a small part of the memory that the group would take."""
    path = make_video(tmp_path / "a.mp4", width=640, height=384, seconds=14, gop=1000)
    script = (
        "import resource, sys\n"
        "from longvideo.video import FileSource, build_index, read_frames\n"
        "source = FileSource(sys.argv[1])\n"
        "index = build_index(source)\n"
        "read_frames(source, index, [0], 100)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert len(read_frames(source, index, [1, 400], 640)) == 2\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    whole_group_in_kilobytes = 400 * 640 * 384 * 3 / 1024
    assert int(done.stdout) < whole_group_in_kilobytes / 8
