"""Where our time goes: `python -m bench.frames.profile`. One thread on one processor, so that parts add up.

What is left beside decoding says how much a better reader could still gain; the packets say how little is decoded.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.frames.tasks import TASKS, Task
from bench.frames.videos import make
from longvideo.segments import Span
from longvideo.video import FileSource, VideoIndex, build_index, choose_frames
from longvideo.video.frames import _needed, _pictures, _Plan
from longvideo.video.packets import open_packets
from longvideo.video.picture import Painter, fit


def main() -> None:
    """Prints a line for each task and way of choosing frames."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with FileSource(make(Path("var/bench"))) as source:
        stored = build_index(source).to_bytes()
        start = time.process_time()
        index = VideoIndex.from_bytes(stored)
        print(f"index: {len(stored)} bytes, {time.process_time() - start:.3f} s to load")
        for name in ("clip", "low", "medium", "high", "high8h"):
            for selection in ("exact", "keyframe"):
                _profile(source, index, TASKS[name][0], selection)


def _profile(source: FileSource, index: VideoIndex, task: Task, selection: str) -> None:
    span = Span(task.start, task.start + task.length)
    chosen = choose_frames(index, span, task.count, "exact" if selection == "exact" else "keyframe")
    packets = open_packets(source, index)
    groups = _Plan(index).groups(chosen.frames, 0)
    numbers = [_needed(index, group) for group in groups]
    start = time.process_time()
    size = sum(len(data) for group in numbers for _, data in packets.read(group))
    reading = time.process_time() - start
    painting = 0.0
    start = time.process_time()
    for group in groups:
        painter = Painter(*fit(index.width, index.height, task.side), index.orientation)
        for frame, picture in _pictures(index, packets, group):
            if frame in group.wanted:
                before = time.process_time()
                painter.paint(picture)
                painting += time.process_time() - before
    whole = time.process_time() - start
    decoding = whole - painting - reading
    count = sum(map(len, numbers))
    print(
        f"{task.name:7} {selection:8} {whole:7.3f} s: reading {reading / whole:4.1%} ({size / 1e6:.1f} MB), "
        f"decoding {decoding / whole:4.1%} ({count} packets of a span of {task.length} in {len(groups)} groups, "
        f"{1000 * decoding / count:.2f} ms each), scaling and JPEG {painting / whole:4.1%}; "
        f"{chosen.moved} of {task.count} moved, by {chosen.mean_move:.2f} s, at most {chosen.max_move:.2f} s"
    )


if __name__ == "__main__":
    main()
