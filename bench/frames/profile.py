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
from longvideo.video import FileSource, VideoIndex, build_index, choose_frames, read_frames
from longvideo.video.frames import _needed, _pictures, _Plan
from longvideo.video.packets import open_packets


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
    start = time.process_time()
    read_frames(source, index, chosen.frames, task.side)
    whole = time.process_time() - start
    packets = open_packets(source, index)
    groups = _Plan(index).groups(chosen.frames, 0)
    numbers = [_needed(index, group) for group in groups]
    start = time.process_time()
    size = sum(len(data) for group in numbers for _, data in packets.read(group))
    reading = time.process_time() - start
    start = time.process_time()
    for group in groups:
        for _ in _pictures(index, packets, group):
            pass
    decoding = time.process_time() - start - reading
    count = sum(map(len, numbers))
    print(
        f"{task.name:7} {selection:8} {whole:7.3f} s: reading {reading:6.3f} ({size / 1e6:.1f} MB), "
        f"decoding {decoding:7.3f} "
        f"({count} packets of a span of {task.length}, {1000 * decoding / count:.2f} ms each, {len(groups)} groups), "
        f"scaling, JPEG and the rest {whole - reading - decoding:6.3f}; {chosen.moved} of {task.count} moved, "
        f"by {chosen.mean_move:.2f} s, at most {chosen.max_move:.2f} s"
    )


if __name__ == "__main__":
    main()
