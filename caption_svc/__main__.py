"""The caption service as a process: `python -m caption_svc`, configured by the environment."""

from __future__ import annotations

import sys

from caption_svc.caption import Captioner
from caption_svc.servicer import CaptionServicer, registration
from longvideo import metrics_server, ports, process, rpc
from longvideo.clips import Library
from longvideo.inference import ModelClient
from longvideo.prompts import load_pack
from longvideo.settings import Settings
from longvideo.storage import open_store
from longvideo.video.sandbox import Sandbox


def start(configured: Settings) -> rpc.Server:
    """Starts the service as the settings say."""
    metrics_server.serve(configured, "caption")
    store = open_store(configured.data_dir, configured.object_store, configured.s3_keys())
    models = ModelClient("caption", configured.endpoints, attempt_timeout=configured.model_timeout)
    library = Library(store, Sandbox(configured.media_limits()), cache_bytes=configured.cache_bytes)
    captioner = Captioner(
        store,
        library,
        models,
        configured.endpoints,
        load_pack(configured.prompt_pack),
        sampling=configured.sampling,
        frame_selection=configured.frame_selection,
    )
    checks = {"object-store": ports.storage_check(store), "models": models.check}
    servicer = CaptionServicer(captioner, library)
    return ports.serve_internal(configured, "caption_listen", [registration(servicer)], checks)


if __name__ == "__main__":
    sys.exit(process.run("caption_svc", start))
