"""Runs the comparison: `python -m bench.frames`. Prints medians, each beside its ratio to decord's."""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.frames import ours, server, videos
from longvideo.storage import open_store, source_key
from longvideo.storage.s3_bucket import Bucket
from longvideo.video import VideoIndex
from longvideo.video.bitstream import DISPOSABLE

ROOT = Path(__file__).parents[2]
OURS, PEERS = ("ours-exact", "ours-sandboxed", "ours-keyframe"), ("decord", "pyav", "opencv", "torchcodec", "ffmpeg")
LOCAL = ("clip", "low", "medium", "high", "high8h", "ten")
REMOTE = ("s3", "s3+20ms")
_BUCKET = "s3://films/bench"
# Where a way takes so long that its rounds would be most of the run, it gets a single one, or none.
_ONCE = {(way, task) for way in PEERS[1:] for task in ("medium", "high", "high8h", "ten")} | {("decord", "high8h")}
_NEVER = {
    *(("ffmpeg", task) for task in ("medium", "high", "high8h", "ten")),
    *((way, task) for way in ("pyav", "opencv", "torchcodec") for task in ("high8h",)),
    *((way, "ten") for way in ("pyav", "opencv")),
    *(("ours-keyframe", task) for task in ("clip", "low", "ten")),
}
COLUMNS = ("wall", "cpu", "rss", "read", "requests")
_HEADING = (
    f"{'task':8} {'way':14} {'wall s':>8} {'CPU s':>8} {'RSS MB':>7} {'read MB':>8} {'requests':>8} {'right':>9} "
    f"{'moved':>6} {'n':>3}  decord / way: wall, CPU, RSS"
)


def main() -> int:
    """Measures what the arguments say and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.frames", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("var/bench"), help="where the videos are kept")
    parser.add_argument("--peers", type=Path, default=Path(".venv-bench/bin/python"), help="the Python of the peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=[*LOCAL, *REMOTE, "index"], default=[*LOCAL, *REMOTE, "index"])
    parser.add_argument("--ways", nargs="+", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    given = parser.parse_args()
    video = videos.make(given.directory.resolve())
    bench = _Bench(video, given.peers, given.ways)
    with ExitStack() as stack:
        bench.prepare(stack, given.directory.resolve(), any(task in REMOTE for task in given.tasks))
        try:
            for turn, task in itertools.product(range(given.rounds), given.tasks):
                bench.round(turn, task)
        finally:
            # What was found until somebody lost patience is worth showing too.
            bench.report()
    return 0


class _Bench:
    def __init__(self, video: Path, peers: Path, ways: Sequence[str]) -> None:
        self._video = video
        self._peers = peers
        self._ways = ways
        self._store = video.parent
        self._counters: dict[str, server.Counter] = {}
        self._found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._failed: dict[str, str] = {}

    def prepare(self, stack: ExitStack, directory: Path, remote: bool) -> None:
        self._store = directory / "store"
        index = ours.add(open_store(self._store), self._video)
        print(f"{self._video.name}: {_described(index)}; Python {platform.python_version()}, {platform.machine()}")
        if remote:
            bucket = directory / "s3" / "films"
            bucket.mkdir(parents=True, exist_ok=True)
            address = stack.enter_context(server.rclone(bucket.parent))
            for task, delay in zip(REMOTE, (0.0, 0.02), strict=True):
                self._counters[task] = server.Counter(address, delay)
                stack.callback(self._counters[task].close)
            ours.add(open_store(self._store, f"{_BUCKET}?endpoint=http://{address}", server.KEYS), self._video)

    def _url(self, task: str) -> str:
        return f"{_BUCKET}?endpoint={self._counters[task].endpoint}"

    def round(self, turn: int, task: str) -> None:
        """Measures every way once at one task."""
        for way in self._ways:
            if (way, task) in _NEVER or way in self._failed or (turn and (way, task) in _ONCE):
                continue
            if task in REMOTE and way not in {"ours-exact", "ours-sandboxed", "decord"}:
                continue
            if task == "index" and way != "ours-exact":
                continue
            result = self._measure(way, task)
            if result is not None:
                self._found.setdefault((task, way), []).append(result)
                print(f"  {turn + 1} {task} {way}: {result['wall']:.2f} s", file=sys.stderr, flush=True)

    def _measure(self, way: str, task: str) -> dict[str, Any] | None:
        is_ours = way in OURS
        python = sys.executable if is_ours else str(self._peers)
        # The first question from a bucket is a clip.
        arguments = [way, "clip" if task in REMOTE else task, *self._where(task, is_ours)]
        done = subprocess.run(  # noqa: S603  # our own module
            [python, "-m", "bench.frames.measure", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            self._failed[way] = (done.stderr.strip().splitlines() or ["it crashed"])[-1][:200]
            return None
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if task in REMOTE:
            result["requests"], result["read"] = self._counters[task].take()
        return result

    def _where(self, task: str, is_ours: bool) -> list[str]:
        if task in REMOTE:
            if is_ours:
                return [self._url(task), *server.KEYS]
            return [_presigned(self._counters[task].endpoint)]
        return [str(self._store if is_ours and task != "index" else self._video)]

    def report(self) -> None:
        """Prints the table."""
        print(_HEADING)
        for task, way in sorted(self._found, key=self._order):
            results = self._found[task, way]
            middle = _medians(results)
            peer = _medians(self._found.get((task, "decord"), []))
            cells = [
                f"{task:8} {way:14} {middle['wall']:8.3f} {middle['cpu']:8.3f}",
                f"{middle['rss']:7.0f} {middle['read']:8.1f}",
                f"{middle['requests']:8.0f}" if "requests" in middle else f"{'–':>8}",
                f"{min(result['right'] for result in results)}/{results[0]['asked']}".rjust(9),
                f"{results[0]['moved']:6} {len(results):3} ",
                *(f"{peer[name] / middle[name]:6.1f}x" for name in COLUMNS[:3] if peer),
            ]
            print(" ".join(cells))
        for way, why in self._failed.items():
            print(f"{way} did not run: {why}")

    def _order(self, found: tuple[str, str]) -> tuple[int, int]:
        task, way = found
        return [*LOCAL, *REMOTE, "index"].index(task), [*OURS, *PEERS].index(way)


def _described(index: VideoIndex) -> str:
    """Says what about the video decides how much there is to read and to decode."""
    spare = (index.packet_flags & DISPOSABLE) > 0
    distance = index.frame_count / len(index.keyframes)
    return (
        f"{index.size / 1e6:.0f} MB, {index.frame_count} frames, keyframes {distance:.0f} apart on average; "
        f"{spare.mean():.0%} of the frames are non-reference frames, with "
        f"{index.packet_sizes[spare].sum() / index.packet_sizes.sum():.0%} of the bytes"
    )


def _medians(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    if not results:
        return {}
    return {name: statistics.median(r[name] for r in results) for name in COLUMNS if name in results[0]}


def _presigned(endpoint: str) -> str:
    """Returns a URL that a peer may download the video from."""
    bucket, _, prefix = _BUCKET.removeprefix("s3://").partition("/")
    client = Bucket(bucket, endpoint, "us-east-1", server.KEYS).client
    return client.presigned_get_object(bucket, f"{prefix}/{source_key(ours.VIDEO.video_id)}")


if __name__ == "__main__":
    sys.exit(main())
