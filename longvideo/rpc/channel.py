"""The caller's side: channels whose stubs raise the errors that the callee raised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from longvideo import addresses, errors
from longvideo.rpc import tracing
from longvideo.rpc.limits import CHANNEL_OPTIONS
from longvideo.rpc.renewing import RenewingChannel
from longvideo.rpc.status import from_rpc_error
from longvideo.tls import Identity


def connect(
    address: str, *, tls: grpc.ChannelCredentials | Identity | None = None, token: str = "", name: str = ""
) -> grpc.Channel:
    """Returns a channel whose stubs raise `longvideo.errors` classes. Connects lazily, and again after a failure.

    `tls` comes from `longvideo.tls`; without it the connection is plain. With an identity, the channel shows and
    believes what its files hold at the time of each call. `token` goes with every call. `name` is one that the server's
    certificate is for, where that is not the host in `address`. Raises BadSettings when the token would travel where
    others can read it, and for files of no use.
    """
    if token and tls is None and not addresses.is_loopback(address):
        raise errors.BadSettings(
            f"A token may not go to {address} over a plain connection, where others can read it; use TLS."
        )
    named = (("grpc.ssl_target_name_override", name),) if name else ()

    def secure(credentials: grpc.ChannelCredentials) -> grpc.Channel:
        return grpc.secure_channel(address, credentials, options=(*CHANNEL_OPTIONS, *named))

    if tls is None:
        channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
    elif isinstance(tls, Identity):
        channel = RenewingChannel(tls, secure)
    else:
        channel = secure(tls)
    return grpc.intercept_channel(channel, _Decode(), _Metadata(address, token))


class _Metadata(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Says who is calling, for which episode, and in which trace, and makes a span of the call."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._own = (("authorization", f"Bearer {token}"),) if token else ()

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._begin(continuation, details, request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._begin(continuation, details, request)

    def _begin(self, continuation: Any, details: Any, request: Any) -> Any:
        span = tracing.begin_call(details.method, self._address)
        metadata = (*(details.metadata or ()), *self._own, *tracing.outgoing(span))
        call = continuation(details._replace(metadata=metadata), request)
        tracing.follow(span, call)
        return call


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
