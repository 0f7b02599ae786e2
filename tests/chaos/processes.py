"""The processes of longvideo, each started again when it ends, as Kubernetes does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_RESTART_SECONDS = 0.5
_STOP_SECONDS = 60.0


class Process:
    """One process. `kills` says when it was killed, in seconds since the epoch; its output goes to `log`."""

    def __init__(self, name: str, arguments: Sequence[str], settings: Mapping[str, str], directory: Path) -> None:
        self.name = name
        self.kills: list[float] = []
        self.starts = 0
        self.log = directory / f"{name}.log"
        self.temporary = directory / "tmp" / name
        self.temporary.mkdir(parents=True)
        bare = {key: value for key, value in os.environ.items() if not key.startswith("LONGVIDEO_")}
        named = {f"LONGVIDEO_{key.upper()}": value for key, value in settings.items()}
        self._environment = {**bare, **named, "TMPDIR": str(self.temporary), "PYTHONPATH": str(_REPOSITORY)}
        self._command = [sys.executable, "-m", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"keeper of {name}", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process that runs, if one does."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Starts the process, and from then on again each time that it ends."""
        self._keeper.start()

    def kill(self) -> bool:
        """Ends the process as a crash of its machine does, and tells whether it ran."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        process.wait()
        self.kills.append(time.time())
        return True

    def stop(self) -> int:
        """Ends the process in good order, for ever, and returns its exit code."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            if process.poll() is None:
                process.kill()
        self._keeper.join()
        return process.returncode if process is not None else 0

    def _keep(self) -> None:
        while not self._stopping.is_set():
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=_REPOSITORY,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.starts += 1
            self._process.wait()
            self._stopping.wait(_RESTART_SECONDS)
