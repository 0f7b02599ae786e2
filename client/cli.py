"""The `longvideo` command: runs a sub-command, and turns how it ended into words and an exit code.

0: done, or answered. 1: ended without an answer. 2: bad usage, bad input, or something the user can mend. 130: stopped
by Ctrl-C (143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from client import signals

_INTERRUPTED = 130


def run(argv: Sequence[str]) -> int:
    """Runs the command with these arguments and returns its exit code."""
    # Nothing but the standard library was loaded so far, so that Ctrl-C works from the start.
    from client import exits  # noqa: PLC0415
    from client.app import app  # noqa: PLC0415
    from longvideo.errors import LongVideoError  # noqa: PLC0415

    try:
        app(args=list(argv), prog_name="longvideo")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else exits.NO_ANSWER
        return _say("Stopped.", _stop_code()) if code == _INTERRUPTED else code
    except exits.Stopped as stopped:
        return _say(str(stopped), _stop_code())
    except LongVideoError as error:
        return _say(f"Error: {error.message}", exits.of_error(error))
    return exits.OK


def main() -> NoReturn:
    """Runs the command with the process's own arguments, and ends the process.

    It ends without waiting for threads: one may be in the middle of a model call that nobody wants any more, and
    everything that is kept was kept when it was made.
    """
    signals.install()
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that cannot show a character gets another, not an exception.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    _log_plainly()
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _say("Stopped.", _stop_code())
    except BrokenPipeError:  # whoever read our output has enough
        code = 1
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.flush()
    os._exit(signals.exit_code() or code)


def _log_plainly() -> None:
    """Lets only errors through, as text, on standard error."""
    from longvideo import logs  # noqa: PLC0415  # the standard library, and no more

    handler = logging.StreamHandler()
    handler.setFormatter(logs.Hiding(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])


def _stop_code() -> int:
    return signals.exit_code() or _INTERRUPTED


def _say(message: str, code: int) -> int:
    from client import words  # noqa: PLC0415

    with contextlib.suppress(BrokenPipeError):
        print(words.clean(message), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    main()
