"""The service's side of the media processes: makes them, ends them, and says how they ended."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import longvideo
from longvideo.errors import Unavailable
from longvideo.video.wire import DROP, END, FORK, ORDER, REPLY

_LOG = logging.getLogger(__name__)
# The process imports in a fraction of a second, and answers an order in a few milliseconds.
_PATIENCE_SECONDS: Final = 60.0
_END_SECONDS: Final = 1.0
# A message of the largest kind passes with few changes between the two processes.
_BUFFER_BYTES: Final = 4 << 20


class Child:
    """A process for one task. `sock` leads to it."""

    def __init__(self, spawner: Spawner, maker: _Maker, process: int, sock: socket.socket) -> None:
        self.sock = sock
        self._spawner, self._maker, self._process = spawner, maker, process
        self._ended = False

    def end(self) -> int:
        """Ends the process and returns its wait status; that of its own end, if it came first."""
        self._ended = True
        return self._spawner.end(self._maker, self._process)

    def close(self) -> None:
        """Ends the process without waiting for it."""
        self.sock.close()
        if not self._ended:
            self._spawner.drop(self._maker, self._process)


class _Maker:
    """The process that makes the others, and the socket it takes orders from."""

    def __init__(self, program: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603  # this interpreter, and a module of ours
                # -P: no module is looked for in the working directory.
                [sys.executable, "-P", "-m", program, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.settimeout(_PATIENCE_SECONDS)
        self.control = ours
        self.ready = False

    def order(self, what: int, process: int = 0, *descriptors: int) -> None:
        socket.send_fds(self.control, [ORDER.pack(what, process)], descriptors)

    def reply(self) -> int:
        data = self.control.recv(REPLY.size, socket.MSG_WAITALL)
        if len(data) < REPLY.size:
            raise ConnectionError("the media process ended")
        return int(REPLY.unpack(data)[0])

    def close(self) -> None:
        """Ends the process; its processes end with it."""
        self.control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Without orders it ends by itself, unless it is importing still.
            self.process.wait(_END_SECONDS if self.ready else 0)
            return
        self.process.kill()
        self.process.wait()


def _environment() -> dict[str, str]:
    """Returns all that the processes learn about where they run."""
    return {
        "PYTHONPATH": str(Path(longvideo.__file__).resolve().parents[1]),
        # Threads that nobody needs, and address space for more of them, count against the memory limit.
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


class Spawner:
    """Makes processes. Threads share it. Nothing runs before it is needed."""

    def __init__(self, program: str) -> None:
        """Says which module is run; `longvideo.video.worker`, unless somebody tests the limits."""
        self._program = program
        self._lock = threading.Lock()
        self._maker: _Maker | None = None

    def start(self) -> None:
        """Starts what makes the processes, and does not wait until it can."""
        with self._lock:
            self._started()

    def fork(self) -> Child:
        """Makes a process. Raises Unavailable."""
        with self._lock:
            for last in (False, True):
                ours, theirs = socket.socketpair()
                with theirs:
                    try:
                        for each in (ours, theirs):
                            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
                        maker = self._ready()
                        maker.order(FORK, 0, theirs.fileno())
                        return Child(self, maker, maker.reply(), ours)
                    except OSError as error:
                        ours.close()
                        self._stop()
                        if last:
                            raise Unavailable(
                                f"no process can be started to read videos in ({error}); see the service's log for "
                                "what it said, and whether memory or processes have run out",
                                reason="MEDIA_PROCESS_UNAVAILABLE",
                            ) from error
        raise AssertionError("a process is made, or the error is raised")

    def end(self, maker: _Maker, process: int) -> int:
        """Ends a process and returns its wait status; -1 when nobody knows it."""
        with self._lock:
            try:
                maker.order(END, process)
                return maker.reply()
            except OSError:
                if maker is self._maker:
                    self._stop()
                return -1

    def drop(self, maker: _Maker, process: int) -> None:
        """Ends a process without waiting for it."""
        with self._lock, contextlib.suppress(OSError):
            maker.order(DROP, process)

    def close(self) -> None:
        """Ends every process. May be called again, and something may be started again."""
        with self._lock:
            self._stop()

    def _started(self) -> _Maker:
        if self._maker is None:
            self._maker = _Maker(self._program)
        return self._maker

    def _ready(self) -> _Maker:
        maker = self._started()
        if not maker.ready:
            if not maker.reply():
                _LOG.warning(
                    "This system cannot filter system calls (seccomp): videos are read in processes with limits on "
                    "memory, time and files, but not shut off from the network"
                )
            maker.ready = True
        return maker

    def _stop(self) -> None:
        maker, self._maker = self._maker, None
        if maker is not None:
            maker.close()
