"""Reads videos in this process: for tests, and for measuring what the sandbox costs. Never for strangers' files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from longvideo.video import ByteSource, Frame, VideoIndex, build_index, read_frames


class InProcessReader:
    """A `MediaReader` without processes and without limits."""

    def start(self) -> None:
        """Does nothing: there is nothing to prepare."""

    def build_index(self, source: ByteSource, *, check: Callable[[], object] = lambda: None) -> VideoIndex:
        """Returns a video's index. `check` is called once."""
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
        """Returns frames of a video."""
        return read_frames(source, index, frames, longest_side, deadline=deadline, check=check)
