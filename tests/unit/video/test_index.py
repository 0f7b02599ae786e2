"""The packet index: what it says about a video, and how it is stored."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longvideo.video import BadIndex, FileSource, VideoIndex, build_index
from longvideo.video.trust import check_counts
from tests.media import make_video, skip_start

from .conftest import Opened


def indexed(path: Path) -> VideoIndex:
    """Returns the index of a file."""
    with FileSource(path) as source:
        return build_index(source)


def same(first: VideoIndex, second: VideoIndex) -> bool:
    """Tells whether two indexes agree in everything."""
    pairs = zip(dataclasses.astuple(first), dataclasses.astuple(second), strict=True)
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)


def test_an_index_says_what_the_video_is(opened: Opened) -> None:
    """Size, container, codec, dimensions, duration, count and rate are those of the file."""
    source, found = opened
    assert (found.size, found.version) == (source.size, source.version)
    assert (found.container, found.codec, found.width, found.height) == ("mp4", "h264", 160, 96)
    assert (found.frame_count, found.duration, found.frame_rate, found.rotation) == (60, 2.0, 30.0, 0)
    assert found.times[0] == 0
    assert found.times.tolist() == pytest.approx([n / 30 for n in range(60)])


@pytest.mark.parametrize(
    ("name", "traits", "container", "codec"),
    [
        ("a.mov", {}, "mov", "h264"),
        ("a.mkv", {"codec": "hevc"}, "matroska", "hevc"),
        ("a.webm", {"codec": "vp9"}, "webm", "vp9"),
        ("a.ts", {"codec": "mpeg2video"}, "mpegts", "mpeg2video"),
        ("a.avi", {"codec": "mpeg4"}, "avi", "mpeg4"),
        ("a.mp4", {"codec": "av1"}, "mp4", "av1"),
    ],
)
def test_containers_and_codecs_are_named_shortly(
    video: Callable[..., Path], name: str, traits: dict[str, str], container: str, codec: str
) -> None:
    """Each container and codec goes by one short name."""
    found = indexed(video(name, seconds=0.5, **traits))
    assert (found.container, found.codec) == (container, codec)


def test_keyframes_are_known(opened: Opened) -> None:
    """An index says which frames are keyframes."""
    assert opened[1].keyframes.tolist() == [0, 20, 40]


def test_times_follow_the_presentation_and_not_a_rate(video: Callable[..., Path]) -> None:
    """At a variable rate every frame keeps its own time, and the mean rate is count by duration."""
    times = [0, 0.1, 0.15, 0.9, 1.0, 2.5, 2.6]
    found = indexed(video("a.mkv", times=times))
    assert found.times.tolist() == pytest.approx(times, abs=0.001)
    assert np.all(np.diff(found.times) > 0)
    assert found.frame_rate == pytest.approx(7 / found.duration)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_late_start_is_no_part_of_the_duration(video: Callable[..., Path], name: str) -> None:
    """Times count from the first frame, wherever the file's clock starts."""
    found = indexed(video(name, start=7.0))
    assert found.times[0] == 0
    assert found.duration == pytest.approx(2.0, abs=0.01)


def test_frames_that_an_edit_list_hides_are_not_counted(video: Callable[..., Path]) -> None:
    """Frames before an edit's start are decoded for others' sake and never shown."""
    assert indexed(skip_start(video(), 10)).frame_count == 50


def test_hidden_reference_frames_are_not_counted(video: Callable[..., Path]) -> None:
    """VP8 frames that are only there to be referred to are no frames of the video."""
    options = {"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"}
    found = indexed(video("a.webm", codec="vp8", options=options))
    assert found.frame_count == 60


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_dimensions_are_those_of_the_upright_picture(video: Callable[..., Path], turned: int) -> None:
    """A turned video reports its rotation, and its dimensions as shown."""
    found = indexed(video(turned=turned, width=96, height=160, seconds=0.5))
    assert (found.width, found.height, found.rotation) == (96, 160, turned)


@pytest.mark.parametrize(("aspect", "shown"), [(Fraction(2), (320, 96)), (Fraction(1, 2), (160, 192))])
def test_dimensions_are_in_square_pixels(video: Callable[..., Path], aspect: Fraction, shown: tuple[int, int]) -> None:
    """Pixels that are not square are stretched, never squeezed."""
    found = indexed(video(aspect=aspect, seconds=0.5))
    assert (found.width, found.height) == shown


def test_a_cover_picture_is_not_the_video(video: Callable[..., Path]) -> None:
    """Cover art is a picture stream too, and is passed over."""
    found = indexed(video(cover=True))
    assert (found.codec, found.width, found.frame_count) == ("h264", 160, 60)


def test_joined_transport_streams_play_one_after_the_other(video: Callable[..., Path]) -> None:
    """Where a transport stream's clock jumps, the times go on."""
    first, second = video("a.ts", start=100).read_bytes(), video("b.ts", start=5).read_bytes()
    joined = video("c.ts")
    joined.write_bytes(first + second)
    found = indexed(joined)
    assert found.frame_count == 120
    assert found.duration == pytest.approx(4.0, abs=0.01)


def test_a_transport_stream_cut_out_of_a_broadcast_starts_at_its_first_keyframe(video: Callable[..., Path]) -> None:
    """Frames before the first keyframe cannot be decoded, and are not counted."""
    path = video("a.ts", bframes=0)
    path.write_bytes(path.read_bytes()[188 * 30 :])
    found = indexed(path)
    assert found.frame_count == 40


def test_an_index_survives_storage(opened: Opened) -> None:
    """An index read back from its bytes is the same index."""
    assert same(VideoIndex.from_bytes(opened[1].to_bytes()), opened[1])


def test_an_hour_is_stored_in_well_under_a_megabyte(opened: Opened) -> None:
    """108,000 packets of random sizes, at random gaps, with reordered frames, take less than 700 kB."""
    random = np.random.default_rng(1)
    count = 108_000
    sizes = random.gamma(2.0, 3500, count).astype(np.int64) + 20
    gaps = np.where(random.random(count) < 0.3, random.integers(100, 800, count), 0)
    order = np.arange(count).reshape(-1, 4)[:, [3, 1, 0, 2]].ravel()
    hour = dataclasses.replace(
        opened[1],
        size=10**10,
        duration=3600.0,
        times=np.arange(count) / 30,
        packet_sizes=sizes,
        packet_extents=sizes,
        packet_skips=np.zeros(count, np.int64),
        packet_offsets=np.cumsum(sizes + gaps),
        packet_ranks=order,
        packet_flags=(np.arange(count) % 250 == 0).astype(np.uint8),
    )
    data = hour.to_bytes()
    assert len(data) < 700_000
    assert same(VideoIndex.from_bytes(data), hour)


@settings(deadline=None)
@given(st.data())
def test_damaged_index_bytes_are_refused(opened_bytes: bytes, data: st.DataObject) -> None:
    """Whatever happens to stored bytes, reading them gives the same index or a clear refusal."""
    changed = bytearray(opened_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    del changed[data.draw(st.integers(0, len(changed))) :]
    if bytes(changed) != opened_bytes:
        with pytest.raises(BadIndex, match="build it again"):
            VideoIndex.from_bytes(bytes(changed))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_index(data: bytes) -> None:
    """Bytes that were never an index are refused."""
    for candidate in (data, b"LVIX" + data):
        with pytest.raises(BadIndex):
            VideoIndex.from_bytes(candidate)


def test_an_index_of_another_version_is_told_apart_from_damage(opened_bytes: bytes) -> None:
    """An index written by another release is refused with its own reason."""
    other = opened_bytes[:4] + b"\x63\0" + opened_bytes[6:]
    with pytest.raises(BadIndex, match="version 99") as caught:
        VideoIndex.from_bytes(other)
    assert caught.value.reason == "INDEX_VERSION"


SENSELESS: dict[str, Callable[[VideoIndex], dict[str, Any]]] = {
    "no such codec": lambda _: {"codec": "h263"},
    "no such container": lambda _: {"container": "mpegps"},
    "no such layout": lambda _: {"packet_addressing": "transport/1"},
    "no size": lambda _: {"width": 0},
    "a huge size": lambda _: {"height": 10**6},
    "a size that is no number": lambda _: {"width": "160"},
    "a size that is true": lambda _: {"width": True},
    "too much reordering": lambda _: {"reorder_depth": 17},
    "no such orientation": lambda _: {"orientation": 8},
    "control characters": lambda _: {"warnings": ("a\x1b[31m",)},
    "a long warning": lambda _: {"warnings": ("a" * 501,)},
    "many warnings": lambda _: {"warnings": ("a",) * 11},
    "no parameters": lambda _: {"extradata": ()},
    "parameters out of order": lambda _: {"extradata": ((0, b""), (9, b""), (3, b""))},
    "no duration": lambda _: {"duration": 0.0},
    "a duration of nothing": lambda _: {"duration": float("nan")},
    "a duration without end": lambda _: {"duration": float("inf")},
    "a duration too short": lambda _: {"duration": 0.1},
    "three days": lambda _: {"duration": 3 * 86400.0},
    "a late start": lambda i: {"times": i.times + 0.1},
    "times out of order": lambda i: {"times": i.times[[0, 2, 1, *range(3, i.frame_count)]]},
    "times that are none": lambda i: {"times": np.where(np.arange(i.frame_count) == 5, np.nan, i.times)},
    "a frame too many": lambda i: {"times": np.append(i.times, i.times[-1])},
    "a frame twice": lambda i: {"packet_ranks": np.where(i.packet_ranks == 3, 4, i.packet_ranks)},
    "a frame far away": lambda i: {"packet_ranks": np.where(i.packet_ranks == 3, 10**12, i.packet_ranks)},
    "a hidden frame far away": lambda i: {"packet_ranks": np.where(i.packet_ranks == 3, -(10**12), i.packet_ranks)},
    "packets behind the end": lambda i: {"size": int(i.packet_offsets.max())},
    "packets before the start": lambda i: {"packet_offsets": i.packet_offsets - 10**9},
    "packets beyond all numbers": lambda i: {"packet_offsets": i.packet_offsets + 2**62},
    "negative extents": lambda i: {"packet_extents": -i.packet_extents},
    "packets of nothing": lambda i: {"packet_sizes": 0 * i.packet_sizes},
    "packets larger than their place": lambda i: {"packet_sizes": i.packet_sizes + 1},
    "packets that begin late": lambda i: {"packet_skips": i.packet_skips + 1},
    "packets that begin early": lambda i: {"packet_skips": i.packet_skips - 1},
}


@pytest.mark.parametrize("why", SENSELESS)
def test_an_index_that_makes_no_sense_is_refused(opened: Opened, why: str) -> None:
    """Whoever stored it, an index is used only when it reads within the video and finds each frame once."""
    index = opened[1]
    changed = dataclasses.replace(index, **SENSELESS[why](index))
    with pytest.raises(BadIndex, match="build it again"):
        VideoIndex.from_bytes(changed.to_bytes())


def test_an_index_does_not_unfold_without_end(opened_bytes: bytes) -> None:
    """A few bytes that stand for very many are refused before they are that many."""
    head = len(opened_bytes) - int.from_bytes(opened_bytes[8:12], "little")
    for start in (b"", zlib.decompress(opened_bytes[head:])):
        body = zlib.compress(start + bytes(400 << 20), 1)
        stored = opened_bytes[:8] + struct.pack("<II", len(body), zlib.crc32(body)) + body
        tracemalloc.start()
        with contextlib.suppress(BadIndex):
            VideoIndex.from_bytes(stored)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 << 20


@pytest.mark.parametrize("counts", [(0, 0), (61, 60), (-1, 60), (1, 10**9), (True, 60), (1.0, 60), ("1", 60)])
def test_counts_that_no_video_has_are_refused(counts: tuple[object, object]) -> None:
    """Numbers of frames and packets are checked before anything is made of them."""
    with pytest.raises(ValueError, match="no sense"):
        check_counts(*counts)


@pytest.fixture(scope="session")
def opened_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The stored index of a short video."""
    return indexed(make_video(tmp_path_factory.mktemp("index") / "a.mp4", seconds=0.5)).to_bytes()
