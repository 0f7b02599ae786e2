"""The processes of the load bench: the worker on one core, everything else on the others."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from bench.load import script
from longvideo.auth import DEFAULT_TENANT
from longvideo.resources import VideoName
from longvideo.video import VideoIndex
from orchestrator import migrations
from orchestrator.db import Engine
from orchestrator.store import Database
from tests.parts import Postgres, Redis

ROOT = Path(__file__).parents[2]
WORKER_CORE = 0
VIDEO = VideoName("10ad" * 16)
_START_SECONDS = 60.0
_HZ = os.sysconf("SC_CLK_TCK")


@dataclass
class Scripted:
    """The running servers of the scripted models and services: their ports and process ids."""

    ports: dict[str, int]
    pids: dict[str, int]

    def settings(self) -> dict[str, Any]:
        """Returns the settings by which a worker finds them."""
        url, services = f"http://127.0.0.1:{self.ports['reason']}/v1", f"127.0.0.1:{self.ports['services']}"
        endpoint = {"url": url, "roles": ["reason"], "pool": "h800", "gpus": 1}
        return {"endpoints": [endpoint], "caption_address": services, "qa_address": services}

    def served(self) -> dict[str, float]:
        """Returns the seconds that every call of the reasoner took, by the call's id, as its server measured them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['reason']}/served", timeout=60) as answer:
            served: dict[str, float] = json.load(answer)
        return served


@dataclass
class Stack:
    """A running system. `worker` is the process that is measured; `others` are the rest, by what they are."""

    database_url: str
    api: str
    models: Scripted
    worker: subprocess.Popen[bytes]
    others: dict[str, int]


def pin() -> tuple[set[int], set[int]]:
    """Keeps this process, and what it starts, off the worker's core. Returns the worker's cores and the others."""
    cores = os.sched_getaffinity(0)
    worker = {min(cores)}
    others = (cores - worker) or worker
    os.sched_setaffinity(0, others)
    return worker, others


def prefer(pid: int) -> None:
    """Puts a process, which must lead a session, before whatever else runs on this machine, if we may."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -15)
        Path(f"/proc/{pid}/autogroup").write_text("-15", "ascii")  # Linux shares the time by sessions first


def cpu_seconds(pid: int) -> float:
    """Returns the CPU seconds that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _HZ


@contextlib.contextmanager
def running(kind: str, concurrency: int, scale: float, cores: set[int]) -> Iterator[Stack]:
    """Starts everything on a fresh database, `sqlite` or `postgresql`, and stops it at the end."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="load-", ignore_cleanup_errors=True)))
        url = stack.enter_context(database(kind, directory))
        add_video(url)
        models = stack.enter_context(scripted(scale))
        broker = stack.enter_context(Redis())
        prefer(broker.pid)
        settings = {
            **models.settings(),
            "data_dir": directory,
            "database_url": url,
            "broker_url": broker.url,
            "api_listen": "127.0.0.1:0",
            "episode_concurrency": concurrency,
        }
        environment = {
            f"LONGVIDEO_{name.upper()}": value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in settings.items()
        }
        environment["LONGVIDEO_DATA_DIR"] = str(directory)
        log = ROOT / "var" / "load-api.log"
        api = stack.enter_context(process([sys.executable, "-m", "orchestrator"], environment, log=log))
        address = _when("the API", lambda: _after(log, "ready at "))
        command = [sys.executable, "-m", "celery", "--quiet", "--app", "orchestrator.celery_app", "worker"]
        command += ["--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "WARNING"]
        worker = stack.enter_context(process(command, environment, log=ROOT / "var" / "load-worker.log", cores=cores))
        yield Stack(url, address, models, worker, {**models.pids, "redis": broker.pid, "api": api.pid})


class _Postgres(Postgres):
    """One that keeps what it has committed, whatever happens, as an operator's does."""

    def command(self) -> list[str]:
        """Returns what is run."""
        return [*super().command(), "-c", "fsync=on"]


@contextlib.contextmanager
def database(kind: str, directory: Path) -> Iterator[str]:
    """Gives the URL of a fresh database."""
    if kind == "sqlite":
        yield f"sqlite:///{directory}/longvideo.db"
        return
    with _Postgres() as server:
        prefer(server.pid)
        yield server.url()


@contextlib.contextmanager
def process(
    command: list[str], environment: Mapping[str, str], *, log: Path, cores: set[int] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts one of our commands, on some cores only where they are given, and ends it at the end."""
    if cores:
        command = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        started = subprocess.Popen(  # noqa: S603  # our own commands
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    prefer(started.pid)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextlib.contextmanager
def scripted(scale: float) -> Iterator[Scripted]:
    """Starts the scripted models and services."""
    ports, pids = {}, {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("reason", "services"):
            log = directory / name
            command = [sys.executable, "-m", "bench.load.servers", name, str(scale)]
            pids[name] = stack.enter_context(process(command, {}, log=log)).pid
            ports[name] = int(_when(name, functools.partial(log.read_text, "utf-8")))
        yield Scripted(ports, pids)


def _when(what: str, look: Callable[[], str]) -> str:
    """Returns the first text that `look` gives that is not empty."""
    give_up = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up:
        if found := look():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not start within {_START_SECONDS:.0f} s")


def _after(log: Path, words: str) -> str:
    return log.read_text("utf-8").partition(words)[2].strip()


def add_video(url: str) -> None:
    """Makes the tables, and a ready video whose tree has script.WIDTH children everywhere."""
    nothing, byte = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    times = np.arange(script.SECONDS * 4) / 4
    index = VideoIndex(
        *(1000, "1000-1", "mp4", "h264", 640, 360, 0, script.SECONDS, (), "", False, 0, "", (), times),
        *(nothing, nothing, nothing, nothing, nothing, byte),
    )
    migrations.migrate(Engine(url))
    opened = Database(url)
    opened.videos.create(DEFAULT_TENANT, VIDEO.video_id, size_bytes=1000, display_name="film.mp4")
    opened.videos.complete(DEFAULT_TENANT, VIDEO.video_id, index)
    opened.close()


def channel(address: str) -> grpc.Channel:
    """Returns a channel to the API."""
    return grpc.insecure_channel(address)
