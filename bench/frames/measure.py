"""One measurement in a process of its own: `python -m bench.frames.measure WAY TASK WHERE`. Prints a line of JSON.

The clock runs from the open call to the base64 texts of all pictures; starting Python and importing is left out, for
everybody. Memory is the peak of the whole process, and of the largest of the processes that it started.
"""

from __future__ import annotations

import base64
import importlib
import json
import resource
import sys
import time
from pathlib import Path

import simplejpeg

from bench.frames.tasks import TASKS
from bench.frames.videos import PERIOD, number_on

_IMPORTS = {
    "decord": "decord",
    "pyav": "av",
    "opencv": "cv2",
    "torchcodec": "torchcodec.decoders",
}


def main(way: str, task: str, where: str, *keys: str) -> None:
    """Measures, and prints what was found."""
    ours = way.startswith("ours")
    module = importlib.import_module("bench.frames.ours" if ours else "bench.frames.peers")
    if way in _IMPORTS:
        importlib.import_module(_IMPORTS[way])
    elif where.startswith("s3:"):
        importlib.import_module("longvideo.storage.s3")
    moved, shown = 0, []
    read, cpu, start = _read(), _cpu(), time.perf_counter()
    if task == "index":
        module.index(where)
    elif ours:
        shown, moved = module.run(where, keys or ("", "", ""), TASKS[task], way.partition("-")[2])
    else:
        shown = module.run(way, where, [(task.frames(), task.side) for task in TASKS[task]])
    texts = [base64.b64encode(jpeg).decode() for _, jpegs in shown for jpeg in jpegs]
    result = {
        "wall": time.perf_counter() - start,
        "cpu": _cpu() - cpu,
        "rss": _peak(),
        "read": (_read() - read) / 1e6,
        "moved": moved,
        "asked": sum(len(frames) for frames, _ in shown),
    }
    numbers = [number for frames, _ in shown for number in frames]
    # Read off the pictures when the clock has stopped.
    result["right"] = sum(
        number_on(simplejpeg.decode_jpeg(base64.b64decode(text))) == number % PERIOD
        for number, text in zip(numbers, texts, strict=False)
    )
    print(json.dumps(result))


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak() -> float:
    """Returns the most memory in MB that this process had, or the largest one that it started."""
    # What getrusage says about this process includes the one that started it.
    status = Path("/proc/self/status").read_text("ascii")
    own = int(status.partition("VmHWM:")[2].split()[0])
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, started) / 1024


def _read() -> int:
    """Returns how many bytes this process has asked the system for, from files and the network."""
    return int(Path("/proc/self/io").read_text("ascii").split()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
