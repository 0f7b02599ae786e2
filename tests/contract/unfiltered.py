"""The same as `tests.contract.hostile`, on a system that cannot filter system calls."""

from __future__ import annotations

import sys

from longvideo.video import confine
from longvideo.video.worker import main
from tests.contract.hostile import HOSTILE

if __name__ == "__main__":
    confine.can_filter = lambda: False
    main(int(sys.argv[1]), HOSTILE)
