"""Our own way: what the services do from an open store to JPEGs; `sandboxed` starts the confined processes too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from bench.frames.tasks import Task
from longvideo.clips import Clip, Library, span_times
from longvideo.resources import VideoName
from longvideo.segments import Segment, Span
from longvideo.storage import ObjectStore, index_key, open_store, source_key
from longvideo.video import ByteSource, Frame, FrameSelection, VideoIndex, build_index, choose_frames, read_frames

if TYPE_CHECKING:
    from longvideo.video.sandbox import MediaReader

VIDEO: Final = VideoName("ab" * 32)
Shown = list[tuple[list[int], list[bytes]]]


class _Reader:
    """Reads frames in this process, and loads no more for that than is needed."""

    def start(self) -> None:
        pass

    def build_index(self, source: ByteSource, *, check: Callable[[], object] = lambda: None) -> VideoIndex:
        check()
        return build_index(source)

    def read_frames(
        self,
        source: ByteSource,
        index: VideoIndex,
        frames: Sequence[int],
        longest_side: int,
        *,
        deadline: float | None = None,
        check: Callable[[], object] = lambda: None,
    ) -> list[Frame]:
        return read_frames(source, index, frames, longest_side, deadline=deadline, check=check)


def add(store: ObjectStore, path: Path) -> VideoIndex:
    """Puts the video and its index into a store, as its arrival does, and returns the index."""
    store.add_file(source_key(VIDEO.video_id), path)
    with store.open(source_key(VIDEO.video_id)) as source:
        built = build_index(source)
    store.put(index_key(VIDEO.video_id), built.to_bytes())
    return built


def run(
    where: str, keys: tuple[str, str, str], tasks: Sequence[Task], how: FrameSelection | Literal["sandboxed"]
) -> tuple[Shown, float]:
    """Does the tasks one after the other, as one process that lives on. Returns the frames, and how many moved."""
    if how == "sandboxed":
        from longvideo.video.sandbox import Sandbox  # noqa: PLC0415  # a way without it needs less memory

        with contextlib.closing(Sandbox()) as media:
            return _run(where, keys, tasks, "exact", media)
    return _run(where, keys, tasks, how, _Reader())


def _run(
    where: str, keys: tuple[str, str, str], tasks: Sequence[Task], selection: FrameSelection, media: MediaReader
) -> tuple[Shown, float]:
    store = open_store(Path(where), "" if not where.startswith("s3:") else where, keys)
    library = Library(store, media)
    index = library.index(VIDEO)
    shown: Shown = []
    moved = 0
    for task in tasks:
        span = Span(task.start, task.start + task.length)
        chosen = choose_frames(index, span, task.count, selection)
        clip = Clip(VIDEO, index, Segment((1,)), span, *span_times(index, span))
        found = library.frames(clip, chosen.frames, task.side)
        shown.append((list(chosen.frames), [frame.jpeg for frame in found]))
        moved += chosen.moved
    return shown, moved


def index(path: str) -> int:
    """Builds the index of a file, as its arrival does, and returns the size of what is stored."""
    from longvideo.video import FileSource  # noqa: PLC0415  # nothing else here needs it

    with FileSource(path) as source:
        return len(build_index(source).to_bytes())
