"""Who is calling: a server that asks for tokens, and what its callers see."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from longvideo import auth, errors, rpc
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import orchestrator_pb2_grpc

SERVICE = "longvideo.v1.OrchestratorService"
ADA = auth.Caller("ada", frozenset({"read"}))


class Whoami(orchestrator_pb2_grpc.OrchestratorServiceServicer):
    """Answers with the caller's tenant."""

    def GetJob(self, request: Any, context: Any) -> pb.Job:  # noqa: N802
        return pb.Job(name=auth.current().tenant)

    def WatchJob(self, request: Any, context: Any) -> Iterator[pb.JobEvent]:  # noqa: N802
        for _ in range(3):
            yield pb.JobEvent(episode=auth.current().tenant)


def authenticate(token: str) -> auth.Caller:
    """Knows one token."""
    if token != "lv_ada":
        raise errors.Unauthenticated("No token." if not token else "The token is not known.", reason="WHO")
    return ADA


def start(**options: Any) -> rpc.Server:
    """Starts a server that tells its callers who they are."""
    return rpc.serve([(SERVICE, orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server, Whoami())], **options)


@pytest.fixture
def server() -> Iterator[rpc.Server]:
    """A server that asks for tokens."""
    started = start(authenticate=authenticate)
    yield started
    started.stop(0)


def stub(server: rpc.Server, token: str = "") -> Any:
    """Returns a stub that sends a token."""
    return orchestrator_pb2_grpc.OrchestratorServiceStub(rpc.connect(server.address, token=token))


def test_a_known_token_says_who_calls(server: rpc.Server) -> None:
    """The servicer sees the token's tenant, in a single answer and all through a stream."""
    asked = stub(server, "lv_ada")

    assert asked.GetJob(pb.GetJobRequest(), timeout=10).name == "ada"
    assert [event.episode for event in asked.WatchJob(pb.WatchJobRequest(), timeout=10)] == ["ada"] * 3


@pytest.mark.parametrize(("token", "said"), [("", "No token"), ("lv_eve", "not known")])
def test_nobody_else_gets_in(server: rpc.Server, token: str, said: str) -> None:
    """A call without a token, or with an unknown one, is refused with the authenticator's own words."""
    asked = stub(server, token)

    for call in (lambda: asked.GetJob(pb.GetJobRequest()), lambda: list(asked.WatchJob(pb.WatchJobRequest()))):
        with pytest.raises(errors.Unauthenticated, match=said) as caught:
            call()
        assert caught.value.reason == "WHO"


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Basic bHZfYWRh")],
        [("authorization", "lv_ada")],
        [("authorization", "Bearer lv_ada"), ("authorization", "Bearer lv_eve")],
    ],
)
def test_what_is_not_one_bearer_token_is_refused(server: rpc.Server, metadata: Any) -> None:
    """Another scheme, no scheme, and two tokens are nobody's."""
    with pytest.raises(errors.Unauthenticated, match="Bearer"):
        stub(server).GetJob(pb.GetJobRequest(), metadata=metadata)


def test_callers_do_not_mix(server: rpc.Server) -> None:
    """A server that knows nobody's name calls everybody LOCAL, also right after others were known elsewhere."""
    assert stub(server, "lv_ada").GetJob(pb.GetJobRequest()).name == "ada"
    open_to_all = start()

    assert stub(open_to_all, "lv_eve").GetJob(pb.GetJobRequest()).name == auth.DEFAULT_TENANT
    open_to_all.stop(0)


def test_health_is_open_and_reflection_is_not(server: rpc.Server) -> None:
    """Whoever probes a server needs no token; what it can do is told to no stranger."""
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        with pytest.raises(grpc.RpcError) as caught:
            next(asked)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_strangers_hold_no_thread() -> None:
    """A call is refused before its request has come, so that nobody can wait at a server's cost without a token."""
    server = start(authenticate=authenticate, concurrency=1)
    silent = threading.Event()

    def nothing() -> Iterator[bytes]:
        silent.wait(60)
        yield b""

    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_unary(f"/{SERVICE}/GetJob").future(nothing(), timeout=60)
        assert call.code() == grpc.StatusCode.UNAUTHENTICATED
        silent.set()
    server.stop(0)


@pytest.mark.parametrize("address", ["10.0.0.1:7700", "longvideo:7700", "[2001:db8::1]:7700"])
def test_a_token_does_not_travel_in_the_open(address: str) -> None:
    """A plain connection to another machine takes no token; one to this machine does."""
    with pytest.raises(errors.BadSettings, match="TLS"):
        rpc.connect(address, token="lv_secret")
    for local in ("127.0.0.1:1", "localhost:1", "[::1]:1"):
        rpc.connect(local, token="lv_secret").close()


def test_a_request_that_is_not_one_is_refused() -> None:
    """Bytes that are no message of the method, and no bytes at all, are the caller's mistake and say so."""
    server = start()
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_unary(f"/{SERVICE}/GetJob")
        for sent, said in (([b"\xff\xff"], "cannot be read"), ([], "no request")):
            with pytest.raises(grpc.RpcError) as caught:
                call(iter(sent), timeout=10)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert said in caught.value.details()
    server.stop(0)


@pytest.mark.parametrize("error", [errors.StorageUnavailable, errors.StorageFull])
def test_strangers_are_not_told_where_the_storage_is(
    error: type[errors.LongVideoError], caplog: pytest.LogCaptureFixture
) -> None:
    """What is said about the operator's servers stands in the log; who calls with a token hears only what it means."""

    def away(_: str) -> auth.Caller:
        raise error("cannot use the database postgresql://db.internal/longvideo: refused")

    server = start(authenticate=away)
    try:
        with pytest.raises(error, match="try again later") as caught:
            stub(server, "lv_ada").GetJob(pb.GetJobRequest(name="jobs/1"))
    finally:
        server.stop(0)
    assert "db.internal" not in str(caught.value)
    assert "db.internal" in caplog.text
