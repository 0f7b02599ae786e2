"""What of a clip fits into a request, and in which order it stands there."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longvideo import tokens
from longvideo.clips import Clip, Library, Room, View, content, span_times, view
from longvideo.errors import InvalidArgument, NotFound
from longvideo.resources import SubtitlesName, VideoName
from longvideo.segments import Segment, Span, Tree
from longvideo.storage import source_key, subtitles_key
from longvideo.subtitles import Cue, Subtitles
from longvideo.testing import InProcessReader, MemoryStore
from longvideo.video import FileSource, Frame, VideoIndex, build_index
from tests.media import make_video

VIDEO = VideoName("ab" * 32)


@functools.cache
def indexed() -> VideoIndex:
    """Returns the index of a real video of ten frames."""
    with tempfile.TemporaryDirectory() as directory:
        path = make_video(Path(directory) / "film.mp4", seconds=0.5, fps=20)
        with FileSource(path) as source:
            return build_index(source)


def index(frame_count: int = 100, fps: float = 10.0, width: int = 1280, height: int = 720) -> VideoIndex:
    """Returns an index with these times and this size, whose frames nobody will read."""
    times = np.arange(frame_count) / fps
    return dataclasses.replace(indexed(), times=times, duration=frame_count / fps, width=width, height=height)


def clip(of: VideoIndex, path: tuple[int, ...] = (1,), width: int = 4) -> Clip:
    """Returns a segment of a video."""
    span = Tree(of.frame_count, width).span(Segment(path))
    return Clip(VIDEO, of, Segment(path), span, *span_times(of, span))


def cost(of: Clip, shown: View, room: Room) -> int:
    """Counts a view's tokens: pictures by rule, every character of a time, and one token for five bytes of words."""
    size = tokens.scaled(of.index.width, of.index.height, shown.longest_side)
    pictures = len(shown.frames) * (tokens.image_tokens(*size, room.rule) + 2)
    times = sum(len(f"[{of.index.times[frame]:.2f}s]") for frame in shown.frames)
    lines = sum(
        len(f"Subtitle [{cue.start:.2f}s - {cue.end:.2f}s]: ") + len(cue.text.encode()) / 5 for cue in shown.cues
    )
    return round(pictures + times + lines)


def test_times_of_spans() -> None:
    """A span ends where the next frame starts, and the last one with the video; neighbours meet exactly."""
    video = index(10, 10.0)
    assert span_times(video, Span(0, 5)) == (0.0, 0.5)
    assert span_times(video, Span(5, 10)) == (0.5, 1.0)
    assert span_times(video, Span(10, 10)) == (1.0, 1.0)


def test_everything_fits() -> None:
    """With room for all, every frame and cue is shown as asked."""
    room = Room(1_000_000, 1000, "", "Qwen3-VL")
    cues = [Cue(n / 10, n / 10 + 1, f"word {n}") for n in range(200)]
    shown = view(clip(index(10_000)), cues, 128, 256, room)
    assert shown.cues == tuple(cues)
    assert (len(shown.frames), shown.longest_side, shown.note) == (128, 256, "")


def test_what_gives_way_first() -> None:
    """Cues between two frames are joined before anything is left out; every word stays, in order."""
    room = Room(16384, 1312, "system", "Qwen3-VL")
    cues = [Cue(n / 4, n / 4 + 0.2, f"w{n}") for n in range(500)]
    shown = view(clip(index(10_000)), cues, 128, 256, room)
    assert " ".join(cue.text for cue in shown.cues) == " ".join(cue.text for cue in cues)
    assert len(shown.cues) < len(cues)
    assert (len(shown.frames), shown.note) == (128, "")


def test_square_pictures() -> None:
    """Sixteen squares of 1024 pixels, which would fill a context of 16,384 tokens alone, are made smaller."""
    shown = view(
        clip(index(1000, width=2000, height=2000), (1, 1, 1), 2), [], 16, 1024, Room(16384, 1024, "", "Qwen3-VL")
    )
    assert 850 < shown.longest_side < 1024


def test_a_quarter_of_an_hour_of_dialogue() -> None:
    """A wide segment full of talk keeps every word of it, and more than half of its frames, above 139 pixels."""
    cues = [Cue(n * 3.0, n * 3.0 + 2.9, "And so we went on to talk about the harbour.") for n in range(300)]
    shown = view(clip(index(36_000)), cues, 128, 256, Room(16384, 1312, "x" * 2000, "Qwen3-VL-32B-Instruct"))
    assert " ".join(cue.text for cue in shown.cues) == " ".join(cue.text for cue in cues)
    assert shown.note == ""
    assert 64 < len(shown.frames) < 128
    assert shown.longest_side >= 140


def test_too_much_dialogue() -> None:
    """When not every word fits, those that are left out are spread evenly, and the model is told."""
    cues = [Cue(n * 0.5, n * 0.5 + 0.4, "And so we went on to talk about the harbour.") for n in range(1800)]
    shown = view(clip(index(36_000)), cues, 128, 256, Room(16384, 1312, "", "Qwen3-VL-32B-Instruct"))
    assert "of 1800 subtitles" in shown.note
    assert shown.cues[0].start == 0.0
    assert shown.cues[-1].end == pytest.approx(899.9)
    assert len(shown.frames) == 64


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4000),
    st.integers(16, 4000),
    st.integers(16, 4000),
    st.integers(0, 300),
    st.text(max_size=300),
    st.integers(1500, 40_000),
    st.sampled_from([(128, 256), (16, 1024), (32, 512)]),
    st.sampled_from(["Qwen3-VL-32B", "Qwen2.5-VL-72B", "gpt"]),
)
def test_it_always_fits(
    frame_count: int,
    width: int,
    height: int,
    cue_count: int,
    words: str,
    context: int,
    asked: tuple[int, int],
    model: str,
) -> None:
    """Whatever is asked of whatever video, the view fits the context, or is refused when not one frame would."""
    of = clip(index(frame_count, 30.0, width, height), (1,), 2)
    cues = [Cue(n / 30, n / 30 + 1, " ".join(words.split()) or "x") for n in range(cue_count)]
    room = Room(context, 1024, "x" * 500, model)
    try:
        shown = view(of, cues, *asked, room)
    except InvalidArgument:
        smallest = tokens.image_tokens(*tokens.scaled(width, height, tokens.SMALLEST_SIDE), room.rule)
        assert smallest + 2 + 12 > room.left - 100
        return
    assert cost(of, shown, room) <= room.left
    assert shown.longest_side <= asked[1]
    assert 1 <= len(shown.frames) <= asked[0]
    said = " ".join(cue.text for cue in shown.cues)
    assert (said == " ".join(cue.text for cue in cues)) == (not shown.note)


def test_order_of_parts() -> None:
    """Each picture follows its time, each cue stands before the first frame after its start, a note comes last."""
    frames = [Frame(n, n * 1.0, 2, 2, b"jpeg") for n in (1, 2)]
    cues = [Cue(0.2, 5, "before"), Cue(1.0, 2, "at the first"), Cue(1.5, 2, "between"), Cue(2.5, 3, "after")]
    shown = [part.get("text") or part["image_url"]["url"] for part in content(frames, cues, "note")]
    picture = "data:image/jpeg;base64,anBlZw=="
    assert shown == [
        "Subtitle [0.20s - 5.00s]: before",
        "[1.00s]",
        picture,
        "Subtitle [1.00s - 2.00s]: at the first",
        "Subtitle [1.50s - 2.00s]: between",
        "[2.00s]",
        picture,
        "Subtitle [2.50s - 3.00s]: after",
        "note",
    ]


def test_the_library_keeps_what_it_read() -> None:
    """Subtitles are read from storage once, while they fit into the cache's room."""
    names = [SubtitlesName(VIDEO.video_id, f"s{n}") for n in range(3)]
    store = MemoryStore()
    for n, name in enumerate(names):
        store.put(subtitles_key(name.video_id, name.subtitles_id), Subtitles((Cue(n, n + 1, "x"),)).to_bytes())
    library = Library(store, InProcessReader(), cache_bytes=2 * 204)
    for name in names:
        library.subtitles(name)
    for name in names:
        store.delete(subtitles_key(name.video_id, name.subtitles_id))
    assert library.subtitles(names[2]).cues[0].start == 2
    assert library.subtitles(names[1]).cues[0].start == 1
    with pytest.raises(NotFound, match=str(names[0])):
        library.subtitles(names[0])


def test_pictures_are_decoded_once() -> None:
    """Frames that were read before come from memory, alone or beside new ones; other sizes and full caches do not."""
    store = MemoryStore()
    with tempfile.TemporaryDirectory() as directory:
        path = make_video(Path(directory) / "film.mp4", seconds=1)
        store.add_file(source_key(VIDEO.video_id), path)
        with FileSource(path) as file:
            indexed_file = build_index(file)
    with store.open(source_key(VIDEO.video_id)) as source:
        stored = dataclasses.replace(indexed_file, version=source.version)
    shown = clip(stored, (1,), 2)
    library, forgetful = Library(store, InProcessReader()), Library(store, InProcessReader(), cache_bytes=0)
    first = library.frames(shown, [3, 1, 9], 100)
    assert [frame.index for frame in first] == [3, 1, 9]
    assert forgetful.frames(shown, [3, 1, 9], 100) == first
    together = library.frames(shown, [1, 2, 3], 100)
    store.delete(source_key(VIDEO.video_id))
    assert library.frames(shown, [1, 2, 3], 100) == together
    assert together[2] is first[0]
    for use in (lambda: library.frames(shown, [4], 100), lambda: library.frames(shown, [3], 50)):
        with pytest.raises(NotFound):
            use()
    with pytest.raises(NotFound):
        forgetful.frames(shown, [3], 100)
