"""What Ctrl-C, SIGTERM and SIGHUP do: the command stops within two seconds, and says what was kept."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType

# Tidying up is done well before that; two seconds are what Ctrl-C promises.
_PATIENCE_SECONDS = 1.7

_stopped_by = 0
_tidying = False


def install() -> None:
    """Makes the signals end the process at once, until `tidy_up` says that there is something to tidy up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    seen, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_end, args=(seen,), name="signals", daemon=True).start()


def tidy_up() -> None:
    """Makes the first signal raise KeyboardInterrupt from now on.

    Before, while modules are loaded, an exception could come out in the middle of one and as anything.
    """
    global _tidying  # noqa: PLW0603  # signals belong to the process
    _tidying = True


def exit_code() -> int:
    """Returns the exit code of a stopped process, as shells have it; 0 when no signal came."""
    return 128 + _stopped_by if _stopped_by else 0


def _end(seen: int) -> None:
    """Ends the process soon after its first signal, whatever the main thread is doing.

    The main thread may be in code that hears of signals late, such as line editing, or that swallows exceptions.
    """
    number = os.read(seen, 1)[0]
    time.sleep(_PATIENCE_SECONDS)
    os.write(2, b"Stopped.\n")
    os._exit(128 + number)


def _stop(number: int, _frame: FrameType | None) -> None:
    global _stopped_by  # noqa: PLW0603  # as above
    if not _tidying:
        os.write(2, b"Stopped.\n")
        os._exit(128 + number)
    if _stopped_by:  # asked twice: do not even tidy up
        os._exit(128 + number)
    _stopped_by = number
    # What is under way breaks off; nobody needs to read about each piece of it.
    logging.disable(logging.CRITICAL)
    raise KeyboardInterrupt
