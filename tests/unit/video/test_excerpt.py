"""The part of an index that some frames need gives the same pictures as all of it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longvideo.video import FileSource, build_index, read_frames
from longvideo.video.excerpt import excerpt
from longvideo.video.index import VideoIndex
from tests.media import respace, skip_start

from .conftest import Opened

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("a.mp4", {}),
    "open GOP": ("a.mkv", {"codec": "hevc", "open_gop": True, "bframes": 3}),
    "late start": ("a.ts", {"open_gop": True, "start": 5.0}),
    "ranked by output": ("a.avi", {"bframes": 0}),
    "hidden frames": ("a.webm", {"codec": "vp8", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
}


def read_all(source: FileSource, index: VideoIndex, asked: list[int]) -> None:
    """Compares the pictures of a part with those of the whole."""
    part, base = excerpt(index, asked)
    frames = read_frames(source, part, [frame - base for frame in asked], 100)
    whole = read_frames(source, index, asked, 100)
    assert [(frame.index + base, frame.time, frame.jpeg) for frame in frames] == [
        (frame.index, frame.time, frame.jpeg) for frame in whole
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_gives_the_same_pictures(video: Callable[..., Path], kind: str) -> None:
    """Wherever the frames lie, alone or spread, pictures and times are those of the whole index."""
    name, traits = KINDS[kind]
    with FileSource(video(name, seconds=5, gop=10, **traits)) as source:
        index = build_index(source)
        chance = random.Random(kind)
        for count in (1, 1, 1, 1, 2, 3):
            read_all(source, index, chance.choices(range(index.frame_count), k=count))
        read_all(source, index, [0, index.frame_count - 1])


def test_a_part_after_an_edit_list_gives_the_same_pictures(video: Callable[..., Path]) -> None:
    """Frames that are decoded and not shown stay so."""
    with FileSource(skip_start(video(gop=5), 12)) as source:
        index = build_index(source)
        for frame in (0, 1, 20, 47):
            read_all(source, index, [frame])


def test_a_part_keeps_the_parameters_that_hold_for_it(video: Callable[..., Path]) -> None:
    """Of parameters that change within a file, a part has those that hold at its start, and the later ones."""
    with FileSource(video(gop=5)) as source:
        index = dataclasses.replace(build_index(source), extradata=((0, b"a"), (10, b"b"), (45, b"c"), (58, b"d")))
    assert excerpt(index, [30])[0].extradata == ((0, b"b"),)
    part, _ = excerpt(index, [30, 50])
    assert [data for _, data in part.extradata] == [b"b", b"c"]
    first = int(np.flatnonzero(index.packet_offsets == part.packet_offsets[0])[0])
    assert part.extradata[1][0] == 45 - first


def test_a_part_is_small(video: Callable[..., Path]) -> None:
    """One frame takes the packets of its own group and of the two before it."""
    with FileSource(video(seconds=10, gop=10, bframes=0)) as source:
        index = build_index(source)
    assert len(excerpt(index, [155])[0].packet_sizes) == 30


def test_where_nobody_can_tell_it_is_the_whole(opened: Opened, tmp_path: Path, video: Callable[..., Path]) -> None:
    """Packets that are found by counting, and keyframes out of order, need the whole index."""
    index = opened[1]
    demuxed = dataclasses.replace(index, packet_addressing="demuxed")
    disorderly = dataclasses.replace(index, packet_ranks=index.packet_ranks[::-1].copy())
    for whole in (demuxed, disorderly):
        assert excerpt(whole, [50]) == (whole, 0)
    with FileSource(respace(video("a.ts", gop=5), 4, 0)) as source:
        read_all(source, build_index(source), [40])
