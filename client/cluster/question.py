"""A question from end to end: a film is uploaded, somebody asks about it, and the answer must be right."""

from __future__ import annotations

import contextlib
import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import av
import grpc
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from client import render, words
from client.api import Client
from client.asking import Asking
from client.cluster.findings import Finding
from client.screen import Screen
from longvideo import health, rpc
from longvideo.auth import DEFAULT_TENANT
from longvideo.errors import AlreadyExists, LongVideoError
from longvideo.settings import Settings
from longvideo.storage import open_store, upload_key
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from orchestrator import pruning, wiring
from orchestrator.tokens import make

TENANT: Final = "helm-test"
"""Whose film and question it is, where the API asks for tokens; disabled but for the time of the question."""

ASKED: Final = "What is the gate number?"
_SIGNS: Final = ("Flower market", "Gate number {}", "Evening concert", "Closing words")
_SIZE: Final = (640, 360)
_FRAMES_EACH: Final = 12
_FRAMES_A_SECOND: Final = 2
_SECONDS: Final = 120.0


def check(settings: Settings, address: str, name: str, seconds: float) -> Iterator[Finding]:
    """Asks the API at an address, whose certificate is for `name` or else for the address, and finds how that went."""
    number = random.randrange(1000, 10_000)  # nobody has seen it, so nobody has kept an answer
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, _visitor(settings) as token:
        film = shoot(Path(folder) / "gates.mp4", number)
        with contextlib.closing(_channel(settings, address, name, token)) as channel:
            video = _added(settings, channel, film)
            episode = _asked(Client(channel), video, seconds)
    took = f"{time.monotonic() - start:.0f} s"
    if episode.state != pb.Episode.STATE_ANSWERED:
        fix = "the findings above say what is missing; the worker's log has the rest"
        yield Finding("question", "failed", f"no answer after {took}: {render.why(episode)}", fix)
    elif str(number) not in episode.answer:
        said = f"the answer is wrong: a sign shows {number}, and the answer is {words.one_line(episode.answer, 80)!r}"
        yield Finding("question", "failed", said, "the models answer, but do not read the frames: look at the captions")
    else:
        rounds = words.plural(episode.round_count, "round")
        yield Finding("question", "ok", f"a film was uploaded, asked about and answered right, {rounds}, {took}")


def _added(settings: Settings, channel: grpc.Channel, film: Path) -> types_pb2.Video:
    """Makes the film known to the API, as a client does.

    Where clients have an address of their own for the storage, which need not be one here, it is put where they would
    put it.
    """
    options = dict(parse_qsl(urlsplit(settings.object_store).query))
    if options.get("public_endpoint", "") == options.get("endpoint", ""):
        return Client(channel).add_video(film)
    stub = OrchestratorServiceStub(channel)
    data = film.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    created = stub.CreateVideo(pb.CreateVideoRequest(sha256=digest, size_bytes=len(data)), timeout=_SECONDS)
    tenant = TENANT if settings.auth == "tokens" else DEFAULT_TENANT
    open_store(settings.data_dir, settings.object_store, settings.s3_keys()).put(upload_key(tenant, digest), data)
    return stub.CompleteVideo(pb.CompleteVideoRequest(name=created.video.name), timeout=_SECONDS)


def _asked(client: Client, video: types_pb2.Video, seconds: float) -> pb.Episode:
    limits = pb.EpisodeLimits()
    limits.max_duration.FromSeconds(max(1, round(seconds)))
    asking = Asking(client, Screen(sys.stderr, quiet=True), pb.TreeConfig(), limits, video=video)
    try:
        return asking.ask(pb.Question(text=ASKED)).episode
    finally:
        with contextlib.suppress(LongVideoError):
            client.delete_video(video.name)


@contextlib.contextmanager
def _visitor(settings: Settings) -> Iterator[str]:
    """Gives a token for the time of one question, where tokens are asked for, and takes away what came of it."""
    if settings.auth != "tokens":
        yield ""
        return
    with contextlib.closing(wiring.open_database(settings)) as database:
        with contextlib.suppress(AlreadyExists):
            database.tenants.create(TENANT, "The doctor's questions")
        database.tenants.change(TENANT, {"disable_time": None})
        row, text = make(TENANT, ("read", "submit"), name="one question", expire_time=time.time() + 3600)
        database.tenants.add_token(row)
        try:
            yield text
        finally:
            database.tenants.revoke(row.id)
            database.tenants.change(TENANT, {"disable_time": time.time()})
            store = open_store(settings.data_dir, settings.object_store, settings.s3_keys())
            kinds = ("jobs", "videos", "captions")
            for _ in pruning.prune(database, store, time.time(), tenant=TENANT, kinds=kinds, really=True):
                pass


def _channel(settings: Settings, address: str, name: str, token: str) -> grpc.Channel:
    return rpc.connect(address, tls=health.credentials(settings), token=token, name=name)


def shoot(path: Path, number: int) -> Path:
    """Makes a film of four signs, six seconds each; one of them is of a gate with this number."""
    font = ImageFont.load_default(56)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FRAMES_A_SECOND)
        stream.width, stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        for sign in _SIGNS:
            image = Image.new("RGB", _SIZE, (245, 245, 245))
            ImageDraw.Draw(image).text((60, 140), sign.format(number), fill=(60, 20, 20), font=font)
            for _ in range(_FRAMES_EACH):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(stream.encode())
    return path
