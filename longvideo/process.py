"""What every service process does: serve until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from longvideo import logs, telemetry
from longvideo.errors import LongVideoError
from longvideo.rpc import Server
from longvideo.settings import Settings, load


def run(name: str, start: Callable[[Settings], Server], finish: Callable[[], object] = lambda: None) -> int:
    """Starts a service, says where it listens, and stops it on SIGINT or SIGTERM. Returns the exit code.

    Calls in flight then have `grace_seconds` to end, and after them `finish` ends what else there is; a second signal
    ends the process at once. `start` may raise any LongVideoError, whose message goes to standard error, as that of
    wrong settings does; the code is then 2.
    """
    told = threading.Event()

    def tell(number: int, _frame: FrameType | None) -> None:
        if told.is_set():
            os._exit(128 + number)
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, tell)
    try:
        settings = load()
        logs.configure(settings, name)
        telemetry.configure(settings, name)
        server = start(settings)
    except LongVideoError as error:
        print(f"{name}: {error.message}", file=sys.stderr)
        return 2
    print(f"{name}: ready at {server.address}", flush=True)
    told.wait()
    server.stop(settings.grace_seconds)
    finish()
    telemetry.shutdown()
    return 0
