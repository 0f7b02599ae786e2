"""What every call goes through on the server's side: who calls, what becomes of errors, and a line in the log."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from longvideo import auth, errors, metrics, telemetry
from longvideo.rpc import tracing
from longvideo.rpc.limits import Threads
from longvideo.rpc.status import to_status

logger = logging.getLogger(__name__)
access = logging.getLogger("longvideo.access")

Authenticate = Callable[[str], auth.Caller]
"""Given a bearer token's text, empty when the call has none, returns who is calling, or raises Unauthenticated."""

# When a caller that was turned away may come again.
_BUSY_SECONDS = 1.0
_SCHEME = "bearer "
_ABOUT_STORAGE = (errors.StorageUnavailable, errors.StorageFull)
# Health and reflection: the only services here that are not ours.
_OPEN = "/grpc."


class Calls(grpc.ServerInterceptor):
    """Lets a method run for a known caller, and turns what it raises into a status.

    To gRPC every method takes a stream of bytes, so that nothing of a request is awaited, held or parsed before its
    caller is known, and a request that cannot be parsed gets an error that says so. gRPC gives each call a context of
    its own (`contextvars`), in which all of it runs, the iteration of an answer's stream too.
    """

    def __init__(self, threads: Threads, authenticate: Authenticate | None) -> None:
        self._threads, self._authenticate = threads, authenticate
        self._strangers = authenticate is not None

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Returns the handler of a method, guarded; None where there is none."""
        handler = continuation(details)
        if handler is None or details.method.startswith(_OPEN):
            return handler
        began = _Began(details.method, details.invocation_metadata)
        if self._threads.full():
            return grpc.stream_unary_rpc_method_handler(self._busy(began))
        if handler.unary_unary:
            method = self._unary(handler.unary_unary, handler.request_deserializer, began)
            return grpc.stream_unary_rpc_method_handler(method, None, handler.response_serializer)
        if handler.unary_stream:
            method = self._stream(handler.unary_stream, handler.request_deserializer, began)
            return grpc.stream_stream_rpc_method_handler(method, None, handler.response_serializer)
        return None  # a stream of requests is nothing that this knows how to guard

    def _busy(self, began: _Began) -> Callable[..., None]:
        error = errors.Unavailable(
            f"The server answers {self._threads.concurrency} calls already, as many as it may; try again soon.",
            reason="SERVER_BUSY",
        )
        error.retry_after = _BUSY_SECONDS

        def call(_: Iterator[bytes], context: grpc.ServicerContext) -> None:
            with began.logged(context):
                tracing.bind(began.method, began.metadata, trusted=False)
                began.abort(context, error, strangers=self._strangers)

        return call

    def _unary(self, method: Callable[..., Any], parse: Callable[[bytes], Any], began: _Began) -> Callable[..., Any]:
        def call(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            with began.logged(context):
                try:
                    self._identify(began)
                    return method(_only(requests, parse), context)
                except Exception as error:  # noqa: BLE001  # the one boundary: nothing may leave as a traceback
                    began.abort(context, error, strangers=self._strangers)

        return call

    def _stream(
        self, method: Callable[..., Iterator[Any]], parse: Callable[[bytes], Any], began: _Began
    ) -> Callable[..., Iterator[Any]]:
        def call(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            with began.logged(context):
                try:
                    self._identify(began)
                    yield from method(_only(requests, parse), context)
                except Exception as error:  # noqa: BLE001  # as above
                    began.abort(context, error, strangers=self._strangers)

        return call

    def _identify(self, began: _Began) -> None:
        """Finds out who is calling, and binds what came with the call. Raises Unauthenticated."""
        tracing.bind(began.method, began.metadata, trusted=self._authenticate is None)
        if self._authenticate is not None:
            auth.CALLER.set(self._authenticate(_bearer(began.metadata)))
            tracing.bind_caller()


class _Began:
    """A call that has come, until its line is logged."""

    def __init__(self, method: str, metadata: tracing.Metadata) -> None:
        self.method, self.metadata = method, metadata
        self._time = time.monotonic()
        self._code, self._reason = "OK", ""

    @contextlib.contextmanager
    def logged(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Logs a line at the end of the call that is answered within, and counts it while it is; it has a span."""
        _, service, name = self.method.split("/")
        in_flight = metrics.RPCS_IN_FLIGHT.labels(service)
        in_flight.inc()
        with tracing.answering(self.method, self.metadata) as span:
            try:
                yield
            finally:
                in_flight.dec()
                self._end(context, service, name)
                tracing.end_answer(span, self._code, self._reason)

    def _end(self, context: grpc.ServicerContext, service: str, name: str) -> None:
        if self._code == "OK" and not context.is_active():  # the caller has gone, and hears of no answer
            self._code = "CANCELLED"
        seconds = round(time.monotonic() - self._time, 4)
        metrics.RPCS.labels(service, name, self._code).inc()
        metrics.RPC_SECONDS.labels(service, name).observe(seconds, telemetry.exemplar())
        access.info("%s %s", self.method, self._code, extra={"code": self._code, "seconds": seconds})

    def abort(self, context: grpc.ServicerContext, error: Exception, *, strangers: bool) -> NoReturn:
        """Ends the call with an error. `strangers` are not told where the storage is."""
        if not isinstance(error, errors.LongVideoError):
            reference = secrets.token_hex(4)
            logger.error("unexpected error %s", reference, exc_info=error)
            error = errors.Internal(f"An unexpected error happened; the server's log has it under {reference}.")
        elif strangers and isinstance(error, _ABOUT_STORAGE):
            logger.warning("%s", error.message)
            error = _without_places(error)
        self._code, self._reason = error.code.name, error.reason
        context.abort_with_status(rpc_status.to_status(to_status(error)))


def _without_places(error: errors.LongVideoError) -> errors.LongVideoError:
    """Returns the error without the names of the operator's servers in it."""
    said = "The server cannot use its database or its storage now; try again later, or ask its operator."
    hidden = type(error)(said, reason=error.reason)
    hidden.retry_after = error.retry_after
    return hidden


def _bearer(metadata: tracing.Metadata) -> str:
    """Returns the bearer token's text, empty when there is none."""
    given = [value for key, value in metadata if key == "authorization"]
    if not given:
        return ""
    value = given[0]
    if len(given) > 1 or not isinstance(value, str) or value[: len(_SCHEME)].lower() != _SCHEME:
        raise errors.Unauthenticated("The call's authorization is not one bearer token; send `Bearer TOKEN`.")
    return value[len(_SCHEME) :].strip()


def _only(requests: Iterator[bytes], parse: Callable[[bytes], Any]) -> Any:
    """Returns the one request of a call."""
    try:
        return parse(next(requests))
    except StopIteration:
        raise errors.InvalidArgument("The call brought no request.") from None
    except grpc.RpcError:
        raise errors.Cancelled("The caller has gone.") from None
    except DecodeError:
        raise errors.InvalidArgument(
            "The request cannot be read; it is not the message that this method takes.", reason="REQUEST_UNREADABLE"
        ) from None
