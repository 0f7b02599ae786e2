"""How many processors this process was given."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from pathlib import Path
from typing import Final

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


@functools.cache
def processors(quota: Path = _QUOTA) -> int:
    """Returns the number of processors this process may use at once: those it may run on, or its container's share.

    The answer stays what it was the first time.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A cgroup says "max", or how many microseconds of processor time there are in how many of the clock.
    with contextlib.suppress(OSError, ValueError):
        used, period = map(int, quota.read_text().split())
        count = min(count, math.ceil(used / period))
    return max(1, count)
