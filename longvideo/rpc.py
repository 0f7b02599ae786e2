"""How the services talk: servers with health and reflection, channels, and errors that survive the wire.

A servicer raises a `longvideo.errors` class; the server's interceptor turns it into a status with one
`google.rpc.ErrorInfo`; the channel's interceptor turns it back, so the caller catches the same class. Deadlines travel
with every call, and shrink at every hop, so that the inner service can still say what took so long.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from longvideo import errors, usage
from longvideo.v1 import types_pb2

logger = logging.getLogger(__name__)

ERROR_DOMAIN = "longvideo"

# What an answer needs for its way back: each hop keeps this much of its caller's time, so that the callee gives up
# first and the caller hears its reason rather than its own clock. The share is needed because gRPC rounds a deadline up
# by as much as 1 % on its way.
HOP_SECONDS = 0.1
HOP_SHARE = 0.02

# Used when a caller sets no deadline at all.
DEFAULT_DEADLINE_SECONDS = 3600.0
MAX_DEADLINE_SECONDS = 48 * 3600.0

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
]

# Only the tree that everybody knows: a class of one part comes as the nearest one that its code says.
_CLASSES = {cls.__name__: cls for cls in errors.all_errors() if cls.__module__ == errors.__name__}
_BY_CODE: dict[grpc.StatusCode, type[errors.LongVideoError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
}


def to_status(error: errors.LongVideoError) -> status_pb2.Status:
    """Returns the error as it goes over the wire: code, message, one ErrorInfo, RetryInfo, and the calls made."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata)
    info.metadata["class"] = type(error).__name__
    messages: list[Message] = [info, *map(usage.to_proto, error.calls)]
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after * 1e9))
        messages.append(retry)
    details = [any_pb2.Any() for _ in messages]
    for packed, message in zip(details, messages, strict=True):
        packed.Pack(message)
    return status_pb2.Status(code=error.code.value[0], message=error.message, details=details)


def from_rpc_error(error: grpc.RpcError) -> errors.LongVideoError:
    """Returns the error that the callee raised, or the nearest to what gRPC itself reports."""
    call = cast(grpc.Call, error)  # what a stub raises is both
    code = call.code()
    decoded = _BY_CODE.get(code, errors.Internal)(call.details() or code.name)
    status = rpc_status.from_call(call)
    if status is None:
        return decoded
    calls, retry_after = [], None
    for detail in status.details:
        info, made, retry = error_details_pb2.ErrorInfo(), types_pb2.ModelCall(), error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            metadata = dict(info.metadata)
            cls = _CLASSES.get(metadata.pop("class", ""), type(decoded))
            decoded = cls(status.message, reason=info.reason)
            decoded.metadata = metadata
        elif detail.Unpack(made):
            calls.append(usage.from_proto(made))
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    decoded.calls, decoded.retry_after = tuple(calls), retry_after
    return decoded


def deadline(context: grpc.ServicerContext) -> float:
    """Returns the moment, on `time.monotonic`'s clock, by which work for this call must be done.

    A little before the caller's own deadline. A caller without one gets an hour.
    """
    remaining = context.time_remaining()
    # gRPC reports centuries for a call without a deadline.
    if remaining is None or remaining > MAX_DEADLINE_SECONDS:
        remaining = DEFAULT_DEADLINE_SECONDS
    return time.monotonic() + max(0.0, remaining * (1 - HOP_SHARE) - HOP_SECONDS)


def timeout(deadline: float) -> float:
    """Returns the seconds left until a moment on `time.monotonic`'s clock. Raises DeadlineExceeded when none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise errors.DeadlineExceeded("The time allowed has passed.")
    return left


class _Errors(grpc.ServerInterceptor):
    """Turns what a servicer raises into a status."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        return handler

    @staticmethod
    def _unary(method: Callable[[Any, grpc.ServicerContext], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return method(request, context)
            except Exception as error:  # noqa: BLE001  # the one boundary: nothing may leave as a traceback
                _abort(context, error)

        return call

    @staticmethod
    def _stream(method: Callable[[Any, grpc.ServicerContext], Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                yield from method(request, context)
            except Exception as error:  # noqa: BLE001  # as above
                _abort(context, error)

        return call


def _abort(context: grpc.ServicerContext, error: Exception) -> None:
    if not isinstance(error, errors.LongVideoError):
        reference = secrets.token_hex(4)
        logger.error("unexpected error %s", reference, exc_info=error)
        error = errors.Internal(f"An unexpected error happened; the server's log has it under {reference}.")
    context.abort_with_status(rpc_status.to_status(to_status(error)))


class _Decode(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Raises what the callee raised."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return Call(continuation(details, request))

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return Stream(continuation(details, request))


class Call:
    """The answer of a unary call, there already or still to come. A stub's `future` method returns one."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def result(self, timeout: float | None = None) -> Any:
        """Returns the answer, waiting at most `timeout` seconds for it.

        Raises the callee's error, Cancelled after `cancel`, and TimeoutError while there is no answer yet.
        """
        try:
            return self._call.result(timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        except grpc.FutureCancelledError:
            raise errors.Cancelled("The call was cancelled.") from None
        except grpc.FutureTimeoutError:
            raise TimeoutError from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class Stream(Iterator[Any]):
    """The answers of a streaming call. Raises `longvideo.errors` classes; `cancel` ends it from any thread."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def cancel(self) -> None:
        """Ends the stream; the next answer raises Cancelled."""
        self._call.cancel()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


@dataclass
class Server:
    """A running gRPC server."""

    address: str
    _server: grpc.Server
    _health: health.HealthServicer

    def stop(self, grace: float = 0.5) -> None:
        """Takes no new calls, and gives those in flight `grace` seconds before they are cancelled."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()

    def wait(self) -> None:
        """Blocks until the server has stopped."""
        self._server.wait_for_termination()


def serve(
    servicers: Sequence[tuple[str, Callable[[Any, grpc.Server], None], Any]],
    address: str = "127.0.0.1:0",
    *,
    max_workers: int = 64,
) -> Server:
    """Starts a server with health checking and reflection.

    `servicers` holds, for each service, its full name, its generated `add_…_to_server` function and the servicer.
    `address` is `host:port`, port 0 for any free one; `Server.address` has the real one. Raises Unavailable when the
    address cannot be used.
    """
    server = grpc.server(ThreadPoolExecutor(max_workers, "rpc"), interceptors=[_Errors()], options=_OPTIONS)
    for _, add, servicer in servicers:
        add(servicer, server)
    checker = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    names = [name for name, _, _ in servicers]
    for name in ["", *names]:
        checker.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    host = address.rpartition(":")[0]
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise errors.Unavailable(f"Cannot listen on {address}: {error}", reason="ADDRESS_UNAVAILABLE") from None
    server.start()
    return Server(f"{host}:{port}", server, checker)


def connect(address: str) -> grpc.Channel:
    """Returns a channel whose stubs raise `longvideo.errors` classes. Connects lazily, and again after a failure."""
    return grpc.intercept_channel(grpc.insecure_channel(address, options=_OPTIONS), _Decode())
