"""The orchestrator's API as a process: `python -m orchestrator`, configured by the environment.

With the in-memory broker, which no other process can reach, it also carries the episodes out.
"""

from __future__ import annotations

import contextlib
import functools
import sys

from longvideo import metrics, metrics_server, ports, prices, process, rpc
from longvideo.declared import Part
from longvideo.settings import Settings
from longvideo.storage import open_store
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from longvideo.video.sandbox import Sandbox
from orchestrator.celery_app import is_in_memory, make_app, nudger, start_worker
from orchestrator.health import checks
from orchestrator.servicer import Backend, OrchestratorServicer, registration
from orchestrator.wiring import authenticator, make_cleaner, make_runner, open_database


def start(cleanup: contextlib.ExitStack, configured: Settings) -> rpc.Server:
    """Starts the process as the settings say, and leaves in `cleanup` what is to be done at its end."""
    database = open_database(configured)
    cleanup.callback(database.close)
    metrics.BACKLOGS.source = database.work.backlog
    parts: list[Part] = ["api", "worker"] if is_in_memory(configured) else ["api"]
    metrics_server.serve(configured, *parts)
    if is_in_memory(configured):
        runner = make_runner(configured, database)
        app = make_app(configured, lambda: runner)
        worker = start_worker(app, runner, make_cleaner(configured, database), configured.episode_concurrency)
        cleanup.callback(worker.stop)
        cleanup.callback(runner.hand_over, configured.grace_seconds)
    else:
        app = make_app(configured)
    media = Sandbox(configured.media_limits())
    cleanup.callback(media.close)
    store = open_store(configured.data_dir, configured.object_store, configured.s3_keys())
    backend = Backend(
        database=database,
        store=store,
        captions=CaptionServiceStub(ports.connect(configured, "caption_address")),
        settings=configured,
        nudge=nudger(app),
        media=media,
        prices=prices.load(configured.price_book),
    )
    servicer = OrchestratorServicer(backend)
    needed = checks(database, store, None if is_in_memory(configured) else app)
    server = ports.serve_api(configured, [registration(servicer)], authenticator(configured, database), needed)
    server.on_stop = servicer.stop_watching
    return server


def main() -> int:
    """Runs the process and returns its exit code."""
    with contextlib.ExitStack() as cleanup:
        return process.run("orchestrator", functools.partial(start, cleanup), cleanup.close)


if __name__ == "__main__":
    sys.exit(main())
