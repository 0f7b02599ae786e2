"""Random requests to every method of every service, on real servers with scripted models behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import strategies as st

from caption_svc.caption import Captioner
from caption_svc.servicer import CaptionServicer
from caption_svc.servicer import registration as caption_registration
from longvideo import rpc
from longvideo.clips import Library
from longvideo.inference import Endpoint, ModelClient
from longvideo.prompts import load_pack
from longvideo.rpc.status import ERROR_DOMAIN
from longvideo.testing import MemoryStore, ScriptedModelServer
from longvideo.v1 import caption_pb2, orchestrator_pb2, video_qa_pb2
from qa_svc.answer import Answerer
from qa_svc.servicer import VideoQAServicer
from qa_svc.servicer import registration as qa_registration
from tests.contract.library import MEDIA, VIDEO, add_film, film
from tests.contract.orchestrator_world import World
from tests.fuzz.conftest import Fuzz
from tests.fuzz.messages import messages

METHODS = [
    method
    for file, service in (
        (orchestrator_pb2, "OrchestratorService"),
        (caption_pb2, "CaptionService"),
        (video_qa_pb2, "VideoQAService"),
    )
    for method in file.DESCRIPTOR.services_by_name[service].methods
]
SECONDS = 20.0


@dataclass
class Target:
    """A running server of each service, and texts that mean something to them."""

    addresses: dict[str, str]
    words: list[str]

    def channel(self, method: MethodDescriptor) -> grpc.Channel:
        """Returns a channel that shows statuses as they come."""
        return grpc.insecure_channel(self.addresses[method.containing_service.name])


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The services, with a video and a finished job."""
    folder = tmp_path_factory.mktemp("fuzz")
    store, path = MemoryStore(), film(folder)
    add_film(store, path)
    world = World(folder / "orchestrator")
    with ScriptedModelServer(lambda _: "<caption>A boat.</caption><answer>Yes.</answer>") as models:
        endpoints = [Endpoint(url=models.url, roles=frozenset({"caption", "qa"}))]
        clients = ModelClient("caption", endpoints), ModelClient("qa", endpoints)
        library = Library(store, MEDIA)
        captioner = Captioner(store, library, clients[0], endpoints, load_pack())
        answerer = Answerer(library, clients[1], load_pack())
        services = rpc.serve(
            [caption_registration(CaptionServicer(captioner, library)), qa_registration(VideoQAServicer(answerer))]
        )
        video = world.add(path)
        job = world.finish(world.submit(video.name))
        assert world.worker is not None
        world.worker.stop()  # what is submitted from now on need not be carried out
        world.worker = None
        page = world.stub.ListJobs(orchestrator_pb2.ListJobsRequest(page_size=1)).next_page_token
        try:
            yield Target(
                {
                    "OrchestratorService": world.server.address,
                    "CaptionService": services.address,
                    "VideoQAService": services.address,
                },
                _words(video.name, job, page),
            )
        finally:
            services.stop(0)
            world.close()


def _words(video: str, job: orchestrator_pb2.Job, page: str) -> list[str]:
    return [
        *(video, str(VIDEO), video.removeprefix("videos/"), f"{video}/subtitles/{'a' * 16}", "videos/" + "0" * 64),
        *(job.name, job.episodes[0].name, f"{job.name}/episodes/9999", "jobs/none", f"{job.name}/episodes/0"),
        *("h800", "default", "A. yes", "B. no", "What number is it?", page or "Zm9v", "s3://bucket/key"),
        *("12345678-1234-4234-8234-123456789abc", "../../etc/passwd", "file:///etc/passwd"),
    ]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_random_messages(fuzz: Fuzz, target: Target, method: MethodDescriptor) -> None:
    """Every answer is OK, or one of our errors with its reason, and never a defect; the server is well after it."""
    with target.channel(method) as channel:
        fuzz(messages(method.input_type, target.words), lambda sent: _right(channel, method, sent), examples=30)
        empty = message_factory.GetMessageClass(method.input_type)()
        assert _answer(channel, method, empty.SerializeToString()) is not grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_random_bytes(fuzz: Fuzz, target: Target, method: MethodDescriptor) -> None:
    """Bytes that are no message at all are the caller's mistake, and said to be."""
    with target.channel(method) as channel:
        fuzz(st.binary(max_size=200), lambda sent: _answer(channel, method, sent), examples=10)


def _right(channel: grpc.Channel, method: MethodDescriptor, message: Any) -> None:
    _answer(channel, method, message.SerializeToString())


def _answer(channel: grpc.Channel, method: MethodDescriptor, sent: bytes) -> grpc.StatusCode:
    """Returns the status of a call, whose answers must be whole messages, and whose error must say what it is."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    read = message_factory.GetMessageClass(method.output_type).FromString
    try:
        if method.server_streaming:
            for _ in channel.unary_stream(name, None, read)(sent, timeout=SECONDS):
                pass
        else:
            channel.unary_unary(name, None, read)(sent, timeout=SECONDS)
    except grpc.RpcError as error:
        return _checked(error)
    return grpc.StatusCode.OK


def _checked(error: Any) -> grpc.StatusCode:
    code, status = error.code(), rpc_status.from_call(error)
    assert code not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}, error.details()
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return code
    assert status is not None, f"{code}: {error.details()}"
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == ERROR_DOMAIN
    assert info.reason
    assert error.details()
    return code
