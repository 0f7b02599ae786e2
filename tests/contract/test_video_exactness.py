"""The frame asked for is the frame returned, for every container, codec and trait that is supported.

The pictures carry their own numbers, so nothing has to be believed.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from longvideo.video import FileSource, VideoIndex, build_index, read_frames
from tests.contract.library import MEDIA
from tests.media import make_video, read_number, respace, skip_start

FRAMES = 60
VARIABLE = [0.02 * n + 0.03 * (n * 7 % 5) / 5 + 0.5 * (n > 31) for n in range(FRAMES)]
LAGGED = {"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A video to make, what happens to it afterwards, and the numbers that its frames then show."""

    name: str
    traits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    after: Callable[[Path], Path] = lambda path: path
    first: int = 0


def cases() -> dict[str, Case]:
    """Returns the matrix."""
    found: dict[str, Case] = {}

    def add(
        label: str, name: str, after: Callable[[Path], Path] = lambda path: path, first: int = 0, **traits: Any
    ) -> None:
        found[label] = Case(name, traits, after, first)

    for suffix, codecs in {
        "mp4": ["h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video"],
        "mov": ["h264", "hevc", "mpeg4"],
        "mkv": ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video"],
        "webm": ["vp8", "vp9", "av1"],
        "ts": ["h264", "hevc", "mpeg4", "mpeg2video"],
        "avi": ["h264", "mpeg4", "mpeg2video", "vp8"],
    }.items():
        for codec in codecs:
            add(f"{codec} in {suffix}", f"a.{suffix}", codec=codec, bframes=3)
    for suffix in ("mp4", "mkv", "ts"):
        for codec in ("h264", "hevc"):
            add(f"{codec} open GOP in {suffix}", f"a.{suffix}", codec=codec, open_gop=True, bframes=3)
            add(f"{codec} variable rate in {suffix}", f"a.{suffix}", codec=codec, times=VARIABLE)
            add(f"{codec} late start in {suffix}", f"a.{suffix}", codec=codec, start=5.0)
            add(f"{codec} with sound in {suffix}", f"a.{suffix}", codec=codec, audio=True)
    add("mpeg2video open GOP in ts", "a.ts", codec="mpeg2video", options={"flags": "-cgop"})
    add("mpeg4 with sound in avi", "a.avi", codec="mpeg4", audio=True)
    add("vp9 variable rate", "a.webm", codec="vp9", times=VARIABLE)
    add("av1 variable rate", "a.mp4", codec="av1", times=VARIABLE)
    add("vp8 with hidden frames", "a.webm", codec="vp8", options=LAGGED)
    add("vp9 with hidden frames", "a.webm", codec="vp9", options=LAGGED)
    add("hevc decodable leading pictures", "a.mp4", codec="hevc", bframes=3, hevc_params="radl=2")
    add("hevc temporal layers", "a.mp4", codec="hevc", bframes=3, hevc_params="temporal-layers=3:b-adapt=0")
    add("h264 intra refresh", "a.mp4", options={"intra-refresh": "1", "bf": "0"})
    add("one keyframe", "a.mp4", gop=1000)
    add("keyframes only", "a.mp4", gop=1, bframes=0)
    add("10 bits", "a.mkv", codec="hevc", depth=10)
    add("index in front", "a.mp4", faststart=True, audio=True)
    add("fragments", "a.mp4", fragmented=True, audio=True)
    add("cover art in mp4", "a.mp4", cover=True)
    add("cover art in mkv", "a.mkv", cover=True)
    add("square pixels wanted", "a.mp4", aspect=Fraction(4, 3))
    add("Blu-ray transport stream", "a.ts", lambda path: respace(path, 4, 0), audio=True)
    add("receiver transport stream", "a.ts", lambda path: respace(path, 0, 16), audio=True)
    for skipped in (5, 10, 25):
        add(f"edit list skips {skipped}", "a.mp4", functools.partial(skip_start, frames=skipped), skipped)
    add("edit list into an open GOP", "a.mp4", lambda path: skip_start(path, 37), 37, codec="hevc", open_gop=True)
    for turned in (90, 180, 270):
        add(f"turned {turned} in mp4", "a.mp4", turned=turned, width=96, height=160)
    add("turned 90 in mkv", "a.mkv", turned=90, width=96, height=160)
    add("turned 90 in hevc mov", "a.mov", codec="hevc", turned=90, width=96, height=160)
    add("mirrored", "a.mp4", mirrored=True)
    add("mirrored and turned", "a.mp4", mirrored=True, turned=90, width=96, height=160)
    return found


CASES = cases()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Case, Path]]:
    """Makes each video of the matrix once."""
    made: dict[str, Path] = {}

    def get(label: str) -> tuple[Case, Path]:
        case = CASES[label]
        if label not in made:
            path = tmp_path_factory.mktemp("matrix") / case.name
            made[label] = case.after(make_video(path, **case.traits))
        return case, made[label]

    return get


@pytest.mark.parametrize("label", CASES)
def test_the_frame_asked_for_is_the_frame_returned(videos: Callable[[str], tuple[Case, Path]], label: str) -> None:
    """All frames at once, and random ones apart, in any order, show exactly the numbers asked for."""
    case, path = videos(label)
    with FileSource(path) as source:
        index = VideoIndex.from_bytes(build_index(source).to_bytes())
        assert index.frame_count == FRAMES - case.first
        assert index.warnings == ()
        everything = read_frames(source, index, range(index.frame_count), 4000)
        assert [read_number(frame.jpeg) for frame in everything] == list(range(case.first, FRAMES))
        assert [frame.time for frame in everything] == index.times.tolist()
        chance = random.Random(label)
        for count in (1, 1, 1, 1, 1, 2, 4):
            asked = chance.choices(range(index.frame_count), k=count)
            frames = read_frames(source, index, asked, 120)
            assert [frame.index for frame in frames] == asked
            assert [read_number(frame.jpeg) - case.first for frame in frames] == asked


@pytest.mark.parametrize("label", CASES)
def test_the_sandbox_changes_nothing(videos: Callable[[str], tuple[Case, Path]], label: str) -> None:
    """A process that can only compute has all that it needs, for every container and codec."""
    _, path = videos(label)
    with FileSource(path) as source:
        index = MEDIA.build_index(source)
        assert index.to_bytes() == build_index(source).to_bytes()
        asked = [5, 0, index.frame_count - 1]
        assert MEDIA.read_frames(source, index, asked, 120) == read_frames(source, index, asked, 120)


@pytest.mark.parametrize("label", ["h264 in mkv", "hevc open GOP in ts", "vp8 with hidden frames", "mpeg4 in avi"])
def test_packets_without_a_place_in_the_file_are_demultiplexed(
    videos: Callable[[str], tuple[Case, Path]], label: str
) -> None:
    """Where packets are not stored as they are, the slow way gives the same exact frames."""
    _, path = videos(label)
    with FileSource(path) as source:
        index = dataclasses.replace(build_index(source), packet_addressing="demuxed")
        asked = [41, 3, 59, 20]
        assert [read_number(frame.jpeg) for frame in read_frames(source, index, asked, 120)] == asked


def test_every_case_but_the_odd_ones_reads_byte_ranges(videos: Callable[[str], tuple[Case, Path]]) -> None:
    """For every container and codec of the matrix, the index finds each packet in the file itself."""
    for label in CASES:
        with FileSource(videos(label)[1]) as source:
            assert build_index(source).packet_addressing != "demuxed", label


def test_demultiplexing_goes_through_the_file_once(videos: Callable[[str], tuple[Case, Path]]) -> None:
    """Frames of many groups cost one pass when packets have to be demultiplexed."""

    class Counted(FileSource):
        read_bytes = 0

        def read(self, offset: int, length: int) -> bytes:
            data = super().read(offset, length)
            self.read_bytes += len(data)
            return data

    with Counted(videos("h264 in mkv")[1]) as source:
        index = dataclasses.replace(build_index(source), packet_addressing="demuxed")
        source.read_bytes = 0
        assert len(read_frames(source, index, [59, 1, 21, 45], 100)) == 4
        assert source.read_bytes <= source.size
