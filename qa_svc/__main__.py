"""The video question service as a process: `python -m qa_svc`, configured by the environment."""

from __future__ import annotations

import sys

from longvideo import metrics_server, ports, process, rpc
from longvideo.clips import Library
from longvideo.inference import ModelClient
from longvideo.prompts import load_pack
from longvideo.settings import Settings
from longvideo.storage import open_store
from longvideo.video.sandbox import Sandbox
from qa_svc.answer import Answerer
from qa_svc.servicer import VideoQAServicer, registration


def start(configured: Settings) -> rpc.Server:
    """Starts the service as the settings say."""
    metrics_server.serve(configured, "qa")
    store = open_store(configured.data_dir, configured.object_store, configured.s3_keys())
    models = ModelClient("qa", configured.endpoints, attempt_timeout=configured.model_timeout)
    answerer = Answerer(
        Library(store, Sandbox(configured.media_limits()), cache_bytes=configured.cache_bytes),
        models,
        load_pack(configured.prompt_pack),
    )
    checks = {"object-store": ports.storage_check(store), "models": models.check}
    return ports.serve_internal(configured, "qa_listen", [registration(VideoQAServicer(answerer))], checks)


if __name__ == "__main__":
    sys.exit(process.run("qa_svc", start))
