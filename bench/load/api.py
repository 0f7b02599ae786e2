"""How many calls a second the API's process answers, and how soon a watcher hears of an event."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from bench.load.episodes import p95, submit
from bench.load.stack import Stack, channel
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub

CALLERS, WATCHERS = 4, 30
HEADING = f"{'':12} {'a second':>8} {'median ms':>10} {'p95 ms':>8}"


def measure(stack: Stack, seconds: float) -> list[str]:
    """Returns a line for each kind of call, while the worker goes on with what it has."""
    stub = OrchestratorServiceStub(channel(stack.api))
    job = submit(stub)
    get = pb.GetJobRequest(name=job.name)
    return [
        _row("GetJob", _closed(lambda: stub.GetJob(get), seconds), seconds),
        _row("WatchJob", _watched(stub, 3 * seconds), 3 * seconds),
        # Last: the worker has enough to do then.
        _row("SubmitJob", _closed(lambda: submit(stub), seconds), seconds),
    ]


def _row(name: str, taken: list[float], seconds: float) -> str:
    if not taken:
        return f"{name:12} {'none':>8}"
    return f"{name:12} {len(taken) / seconds:8.0f} {1000 * statistics.median(taken):10.1f} {1000 * p95(taken):8.1f}"


def _closed(call: Callable[[], object], seconds: float) -> list[float]:
    """Returns the seconds of each call, of CALLERS that each call again as soon as they have an answer."""
    over = time.monotonic() + seconds

    def caller(_: int) -> list[float]:
        taken = []
        while (start := time.monotonic()) < over:
            call()
            taken.append(time.monotonic() - start)
        return taken

    with ThreadPoolExecutor(CALLERS) as pool:
        return [each for some in pool.map(caller, range(CALLERS)) for each in some]


def _watched(stub: OrchestratorServiceStub, seconds: float) -> list[float]:
    """Returns, for each event that WATCHERS of a job each heard, how long after it happened."""
    lags: list[float] = []

    def watch() -> None:
        try:
            for event in stub.WatchJob(pb.WatchJobRequest(name=submit(stub).name), timeout=seconds):
                lags.append(time.time() - event.time.ToNanoseconds() / 1e9)  # noqa: PERF401  # as they come
        except grpc.RpcError:
            pass  # the time is over

    threads = [threading.Thread(target=watch, daemon=True) for _ in range(WATCHERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lags
