"""What every service process does: serve until it is told to stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from longvideo.errors import LongVideoError
from longvideo.rpc import Server


def run(name: str, start: Callable[[], Server]) -> int:
    """Starts a service, says where it listens, and stops it on SIGINT or SIGTERM. Returns the exit code.

    `start` may raise any LongVideoError, whose message goes to standard error; the code is then 2.
    """
    told = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, tell)
    try:
        server = start()
    except LongVideoError as error:
        print(f"{name}: {error.message}", file=sys.stderr)
        return 2
    print(f"{name}: ready at {server.address}", flush=True)
    told.wait()
    server.stop()
    return 0
