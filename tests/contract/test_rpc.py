"""Errors, deadlines, health and reflection over a real connection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from longvideo import errors, logs, rpc, telemetry
from longvideo.rpc.status import MAX_MESSAGE_BYTES
from longvideo.usage import Call
from longvideo.v1 import caption_pb2, caption_pb2_grpc, orchestrator_pb2, orchestrator_pb2_grpc

SERVICE = "longvideo.v1.CaptionService"


class Captions(caption_pb2_grpc.CaptionServiceServicer):
    """Does what the test says."""

    def __init__(self, behave: Callable[[grpc.ServicerContext], Any]) -> None:
        self.behave = behave

    def ListCaptions(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self.behave(context) or caption_pb2.ListCaptionsResponse()


class Watch(orchestrator_pb2_grpc.OrchestratorServiceServicer):
    """Streams two events and then fails, or goes on for ever."""

    def __init__(self, error: errors.LongVideoError | None) -> None:
        self.error = error

    def WatchJob(self, request: Any, context: Any) -> Iterator[orchestrator_pb2.JobEvent]:  # noqa: N802
        yield orchestrator_pb2.JobEvent(position=1)
        yield orchestrator_pb2.JobEvent(position=2)
        if self.error:
            raise self.error
        while context.is_active():
            time.sleep(0.01)


@pytest.fixture
def call() -> Iterator[Callable[..., Any]]:
    """Returns a function that calls a servicer which behaves as given."""
    stop = []

    def run(behave: Callable[[grpc.ServicerContext], Any], **options: Any) -> Any:
        server = rpc.serve([(SERVICE, caption_pb2_grpc.add_CaptionServiceServicer_to_server, Captions(behave))])
        stop.append(server)
        stub = caption_pb2_grpc.CaptionServiceStub(rpc.connect(server.address))
        return stub.ListCaptions(caption_pb2.ListCaptionsRequest(), **options)

    yield run
    for server in stop:
        server.stop(0)


def raises(error: Exception) -> Callable[[Any], Any]:
    """Returns a behaviour that raises."""

    def behave(_: Any) -> Any:
        raise error

    return behave


TREE = [cls for cls in errors.all_errors() if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_error_crosses_the_wire(call: Callable[..., Any], cls: type[errors.LongVideoError]) -> None:
    """The caller catches the class that the callee raised, with its message, reason and metadata."""
    with pytest.raises(errors.LongVideoError) as caught:
        call(raises(cls("field is 3; use 4", reason="SOME_REASON", field="field")))

    assert type(caught.value) is cls
    assert (caught.value.message, caught.value.reason) == ("field is 3; use 4", "SOME_REASON")
    assert caught.value.metadata == {"field": "field"}


def test_an_error_of_one_part_comes_as_what_all_know(call: Callable[..., Any]) -> None:
    """A class that only the callee has is caught as the nearest class that its code says."""

    class Elsewhere(errors.NotFound):
        pass

    with pytest.raises(errors.NotFound, match="gone") as caught:
        call(raises(Elsewhere("gone", reason="LONG_GONE")))

    assert caught.value.reason == "LONG_GONE"


def test_calls_made_before_a_failure_travel_with_it(call: Callable[..., Any]) -> None:
    """An error brings along the model calls that were paid for."""
    error = errors.ModelUnavailable("no")
    error.calls = (
        Call("caption", "m", "http://x/v1", "h800", 2, 1.5e9, 0.25, "error", detail="500"),
        Call("caption", "m", "http://x/v1", "h800", 2, 1.5e9, 1.25, "timeout", attempt=2, images=16),
        Call("qa", "m", "http://x/v1", "", 0, 1.5e9, 1.0, "ok", queue_seconds=0.0, prefill_seconds=0.25),
    )

    with pytest.raises(errors.ModelUnavailable) as caught:
        call(raises(error))

    assert caught.value.calls == error.calls


def test_a_defect_is_internal_and_hides_its_traceback(call: Callable[..., Any]) -> None:
    """An unexpected exception becomes INTERNAL with a reference, and nothing of what it said."""
    with pytest.raises(errors.Internal, match="the server's log has it under") as caught:
        call(raises(ZeroDivisionError("secret")))

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("seconds", [1.0, 1.234, 9.99, 10.0, 99.9, 1001.0, 3599.0])
def test_deadlines_shrink(call: Callable[..., Any], seconds: float) -> None:
    """The callee must be done before its caller gives up, however gRPC rounds the deadline on its way."""
    left: list[float] = []
    call(lambda context: left.append(rpc.deadline(context) - time.monotonic()), timeout=seconds)

    assert seconds / 2 < left[0] < seconds - rpc.HOP_SECONDS / 2


def test_a_caller_without_a_deadline_gets_one(call: Callable[..., Any]) -> None:
    """Work for a caller that set no deadline ends after an hour."""
    seen: list[float] = []
    call(lambda context: seen.append(rpc.deadline(context) - time.monotonic()))

    assert 3500 < seen[0] <= 3600


def test_a_deadline_that_passes_is_told_apart(call: Callable[..., Any]) -> None:
    """A call that takes too long raises DeadlineExceeded."""
    with pytest.raises(errors.DeadlineExceeded):
        call(lambda _: time.sleep(1), timeout=0.2)


def test_no_server_is_unavailable() -> None:
    """A call to an address where nobody listens raises Unavailable."""
    stub = caption_pb2_grpc.CaptionServiceStub(rpc.connect("127.0.0.1:1"))

    with pytest.raises(errors.Unavailable):
        stub.ListCaptions(caption_pb2.ListCaptionsRequest(), timeout=5)


def test_an_address_in_use_says_so() -> None:
    """A second server on one port is refused with the address."""
    first = rpc.serve([])
    with pytest.raises(errors.Unavailable, match=first.address):
        rpc.serve([], first.address)
    first.stop(0)


def watch(error: errors.LongVideoError | None) -> tuple[rpc.Server, Any]:
    """Starts a server whose streams end as given, and opens one."""
    add = orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server
    server = rpc.serve([("longvideo.v1.OrchestratorService", add, Watch(error))])
    stub = orchestrator_pb2_grpc.OrchestratorServiceStub(rpc.connect(server.address))
    return server, stub.WatchJob(orchestrator_pb2.WatchJobRequest())


def test_a_stream_raises_what_the_callee_raised() -> None:
    """What was streamed before an error arrives, and then the error's own class."""
    server, stream = watch(errors.NotFound("gone"))

    assert [next(stream).position, next(stream).position] == [1, 2]
    with pytest.raises(errors.NotFound, match="gone"):
        next(stream)
    server.stop(0)


def test_a_stream_can_be_cancelled() -> None:
    """Cancelling a stream makes its next answer raise Cancelled."""
    server, stream = watch(None)
    next(stream)
    next(stream)
    stream.cancel()

    with pytest.raises(errors.Cancelled):
        next(stream)
    server.stop(0)


def test_a_future_can_be_awaited_and_cancelled() -> None:
    """A stub's future raises TimeoutError while there is no answer, and Cancelled after cancel."""
    add = caption_pb2_grpc.add_CaptionServiceServicer_to_server
    server = rpc.serve([(SERVICE, add, Captions(lambda context: time.sleep(1)))])
    stub = caption_pb2_grpc.CaptionServiceStub(rpc.connect(server.address))
    future = stub.ListCaptions.future(caption_pb2.ListCaptionsRequest())

    with pytest.raises(TimeoutError):
        future.result(timeout=0.05)
    future.cancel()
    with pytest.raises(errors.Cancelled):
        future.result()
    server.stop(0)


def test_every_server_has_health_and_reflection() -> None:
    """A server answers health checks for itself and its services, and lists them."""
    server = rpc.serve([(SERVICE, caption_pb2_grpc.add_CaptionServiceServicer_to_server, Captions(lambda _: None))])
    channel = rpc.connect(server.address)
    health = health_pb2_grpc.HealthStub(channel)
    states = [health.Check(health_pb2.HealthCheckRequest(service=name)).status for name in ("", SERVICE)]
    with grpc.insecure_channel(server.address) as plain:
        reflection = reflection_pb2_grpc.ServerReflectionStub(plain)
        answer = next(reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
    server.stop(0)

    assert states == [health_pb2.HealthCheckResponse.SERVING] * 2
    assert SERVICE in [service.name for service in answer.list_services_response.service]


@pytest.mark.parametrize("text", ["x", "语", "\ud800"], ids=["ascii", "wide", "surrogate"])
def test_an_error_is_never_too_long_for_the_wire(call: Callable[..., Any], text: str) -> None:
    """However much an error says, its class, its reason and every one of its calls arrive."""
    told = [Call("qa", "m" * 200, "http://h/v1", "h800", 2, 1.0, 1.0, "error", detail="d" * 300) for _ in range(16)]

    def behave(_: grpc.ServicerContext) -> None:
        error = errors.NotFound(text * 50_000, reason="GONE", name=text * 50_000)
        error.calls = tuple(told)
        raise error

    with pytest.raises(errors.NotFound) as caught:
        call(behave)
    assert caught.value.reason == "GONE"
    assert 100 < len(caught.value.message.encode()) <= MAX_MESSAGE_BYTES
    assert [made.id for made in caught.value.calls] == [made.id for made in told]


class Lines(logging.Handler):
    """Keeps what is logged about calls, with what was bound then."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.getMessage(), {**logs.names(), **telemetry.ids()}))


@pytest.fixture
def lines() -> Iterator[list[tuple[str, dict[str, str]]]]:
    """Gives the lines about calls."""
    access, handler = logging.getLogger("longvideo.access"), Lines()
    access.addHandler(handler)
    before = access.level
    access.setLevel(logging.INFO)
    yield handler.seen
    access.setLevel(before)
    access.removeHandler(handler)


def test_each_call_is_a_line(call: Callable[..., Any], lines: list[tuple[str, dict[str, str]]]) -> None:
    """A call is one line with its method, its code, and whom it was for; the next call starts from nothing."""
    episode = logs.names_of("jobs/1/episodes/2")
    place = telemetry.parse("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00")
    asking = telemetry.span("asking", parent=place)
    with logs.bound(tenant="ada", **episode), asking, pytest.raises(errors.NotFound):
        call(raises(errors.NotFound("gone")))
    call(lambda _: None)

    first, second = lines
    assert first == (
        f"/{SERVICE}/ListCaptions NOT_FOUND",
        {
            "method": "ListCaptions", "tenant": "ada", "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "episode": "jobs/1/episodes/2", "job": "jobs/1",
        },
    )  # fmt: skip
    assert second[0] == f"/{SERVICE}/ListCaptions OK"
    assert second[1].keys() == {"method", "trace_id"}


def test_a_stream_is_a_line(lines: list[tuple[str, dict[str, str]]]) -> None:
    """A stream is one line at its end, also when its caller has gone."""
    server, stream = watch(None)
    next(stream)
    stream.cancel()
    deadline = time.monotonic() + 60
    while not lines and time.monotonic() < deadline:
        time.sleep(0.01)
    server.stop(0)

    assert [line for line, _ in lines] == ["/longvideo.v1.OrchestratorService/WatchJob CANCELLED"]
