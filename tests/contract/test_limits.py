"""What one caller can take from a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from longvideo import errors, rpc
from longvideo.rpc import limits
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import orchestrator_pb2_grpc


class Jobs(orchestrator_pb2_grpc.OrchestratorServiceServicer):
    """Answers at once, or streams until the caller has gone."""

    def GetJob(self, request: Any, context: Any) -> pb.Job:  # noqa: N802
        return pb.Job(name=request.name)

    def WatchJob(self, request: Any, context: Any) -> Iterator[pb.JobEvent]:  # noqa: N802
        gone = threading.Event()
        context.add_callback(gone.set)
        yield pb.JobEvent(position=1)
        gone.wait(60)


@pytest.fixture
def server() -> Iterator[rpc.Server]:
    """A server for two calls at one time."""
    add = orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server
    started = rpc.serve([("longvideo.v1.OrchestratorService", add, Jobs())], concurrency=2)
    yield started
    started.stop(0)


def test_more_calls_than_a_server_answers_are_turned_away(server: rpc.Server) -> None:
    """Calls beyond the limit are refused at once, streams count, health checks get through, and room is found again."""
    with rpc.connect(server.address) as first, rpc.connect(server.address) as second:
        # The limit is the server's, whoever calls; a connection has one of its own, which is the same.
        stubs = [orchestrator_pb2_grpc.OrchestratorServiceStub(channel) for channel in (first, second)]
        streams = [stubs[0].WatchJob(pb.WatchJobRequest(), timeout=60) for _ in range(2)]
        assert [next(stream).position for stream in streams] == [1, 1]
        with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
            plain = orchestrator_pb2_grpc.OrchestratorServiceStub(other)
            for call in (lambda: plain.GetJob(pb.GetJobRequest()), lambda: next(plain.WatchJob(pb.WatchJobRequest()))):
                with pytest.raises(grpc.RpcError) as caught:
                    call()
                error = rpc.from_rpc_error(caught.value)
                assert (type(error), error.reason) == (errors.Unavailable, "SERVER_BUSY")
                assert error.retry_after == 1.0
            answer = health_pb2_grpc.HealthStub(other).Check(health_pb2.HealthCheckRequest(), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        streams[0].cancel()
        assert _answered(stubs[1], "jobs/1")


def _answered(stub: Any, name: str) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return bool(stub.GetJob(pb.GetJobRequest(name=name), timeout=20).name == name)
        except errors.Unavailable:
            time.sleep(0.01)
    return False


def test_calls_are_bounded(server: rpc.Server) -> None:
    """A request, and what comes with it, may be only so large; the server goes on."""
    with rpc.connect(server.address) as channel:
        stub = orchestrator_pb2_grpc.OrchestratorServiceStub(channel)
        with pytest.raises(errors.ResourceExhausted):
            stub.GetJob(pb.GetJobRequest(name="x" * (limits.MAX_MESSAGE_BYTES + 1)), timeout=20)
        padding = [("x-padding", "x" * limits.MAX_CALL_METADATA_BYTES)]
        with pytest.raises(errors.LongVideoError):
            stub.GetJob(pb.GetJobRequest(name="jobs/1"), timeout=20, metadata=padding)
        assert _answered(stub, "jobs/1")


def test_calls_go_to_all_addresses_of_a_name() -> None:
    """A channel to a name with several addresses uses all of them."""
    seen: list[set[str]] = [set(), set()]
    add = orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server

    class Counted(Jobs):
        def __init__(self, names: set[str]) -> None:
            self.names = names

        def GetJob(self, request: Any, context: Any) -> pb.Job:  # noqa: N802
            self.names.add(request.name)
            return pb.Job(name=request.name)

    servers = [rpc.serve([("longvideo.v1.OrchestratorService", add, Counted(names))]) for names in seen]
    target = "ipv4:" + ",".join(server.address for server in servers)
    with rpc.connect(target) as channel:
        stub = orchestrator_pb2_grpc.OrchestratorServiceStub(channel)
        deadline = time.monotonic() + 60
        while not all(seen) and time.monotonic() < deadline:
            stub.GetJob(pb.GetJobRequest(name="jobs/1"), timeout=20)
    for server in servers:
        server.stop(0)
    assert all(seen)
