"""What the servers have in common: a process that listens on a loopback port."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])


class Server:
    """A server in a process of its own. It keeps its port and its directory from `start` to `close`."""

    # What asks a server to end at once, without waiting for its clients.
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.port = free_port()
        # Not below pytest's directory: those of root are closed to the user that PostgreSQL then runs as.
        self.directory = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))
        self.log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None, f"{type(self).__name__} does not run"
        return self._process.pid

    def command(self) -> list[str]:
        """Returns what is run."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Returns what `Popen` is told about the process."""
        return {}

    def check(self) -> None:
        """Raises an exception while the server does not answer."""
        socket.create_connection((HOST, self.port), 1).close()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        assert self._process is None, "it runs already"
        self._launch()
        self._wait(time.monotonic() + _START_SECONDS)

    def _wait(self, deadline: float) -> None:
        """Waits until the server answers, and starts it again when it ends instead."""
        while True:
            try:
                self.check()
            except Exception as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.command()[0]} does not answer: {self._told()}") from error
            else:
                return
            if self._process is not None and self._process.poll() is not None:
                # What was there before has not quite gone, or somebody took the port.
                self._launch()
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server in good order."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Ends the server as a crash does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops the server and starts it again."""
        self.stop()
        self.start()

    def revive(self) -> None:
        """Starts the server again if it has ended by itself, and waits until it answers."""
        if self._process is not None and self._process.poll() is None:
            self._wait(time.monotonic() + _START_SECONDS)
        else:
            self._process = None
            self.start()

    def close(self) -> None:
        """Ends the server, if it runs, and removes what it kept."""
        if self._process is not None:
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                # Ctrl-C is for those who use the server; they end it when they end.
                start_new_session=True,
                **self.options(),
            )

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        if process.poll() is None:
            process.kill()
            process.wait()

    def _told(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]
