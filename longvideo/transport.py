"""HTTP that can be stopped: a transport whose every wait ends at a deadline or when nobody wants the answer any more.

An HTTP client's own time-outs bound one read, not a request: a server which sends a byte now and then never ends it.
And a thread that waits in `recv` cannot be told to stop. Here every wait on the network is cut into short slices, and
between two slices the `Watch` of the request in hand is asked whether to go on. When it says no, the connection is
closed, which is what makes a model server stop generating. The time-outs that the HTTP library hands down are ignored,
except for the one to connect.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import httpcore2
import httpx2

SLICE, LONGEST_SLICE = 0.2, 1.0
"""Seconds between two looks at the watch: short enough at first for a person at Ctrl-C, longer for a wait that lasts,
because hundreds of threads that all look five times a second take a good part of a processor."""

KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept. uvicorn, which vLLM runs on, closes one after 5: we must be first."""

CONNECTION_AGE = 60.0
"""Seconds after which a connection makes place for a new one. A Service of Kubernetes leads each connection to one of
its replicas: without an end, those that were added would be given nothing to do."""

KEEP_ALIVE_PROBES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds and a count: a machine that vanished in the middle of a long answer is noticed after half a minute."""

PASSED_HEADERS = frozenset(
    ("host", "authorization", "accept", "content-type", "content-length", "x-request-id", "traceparent", "tracestate")
)
"""The request headers that leave this process. What else a library adds, from the environment too, stays here."""

_Result = TypeVar("_Result")


class Interrupted(Exception):
    """A wait on the network ended because of the watch, not because of the network."""


class OutOfTime(Interrupted):
    """The watch's deadline has passed."""


class Stopped(Interrupted):
    """Nobody wants the answer any more."""


class UnreadableAnswer(Exception):
    """The answer's body is longer than allowed, or compressed though nobody asked for that."""


def patience() -> Iterator[float]:
    """Yields how many seconds to wait before looking again whether to go on: more and more, up to LONGEST_SLICE."""
    pause = SLICE
    while True:
        yield pause
        pause = min(1.5 * pause, LONGEST_SLICE)


class Watch:
    """Says whether to go on waiting: until `deadline` (of `time.monotonic`), and while `stopped()` is false."""

    def __init__(self, deadline: float, stopped: Callable[[], bool] | None = None) -> None:
        self.deadline = deadline
        self._stopped = stopped

    @property
    def remaining(self) -> float:
        """Returns the seconds left, negative once the deadline has passed."""
        return self.deadline - time.monotonic()

    def until(self, deadline: float) -> Watch:
        """Returns a watch for a part of the work: the same, but ending at `deadline` if that is earlier."""
        return Watch(min(self.deadline, deadline), self._stopped)

    def slice(self, longest: float = SLICE) -> float:
        """Returns how long to wait before asking again, at most `longest` seconds. Raises Stopped or OutOfTime."""
        if self._stopped is not None and self._stopped():
            raise Stopped
        remaining = self.remaining
        if remaining <= 0:
            raise OutOfTime
        return min(longest, remaining)

    def sleep(self, seconds: float) -> None:
        """Waits. Raises Stopped or OutOfTime as soon as the watch says so."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(self.slice(), left))
        self.slice()


_current: ContextVar[Watch] = ContextVar("watch")


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Puts every wait on the network that this thread does inside the block under the watch."""
    token = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(token)


def _slice(longest: float = SLICE) -> float:
    watch = _current.get(None)
    return longest if watch is None else watch.slice(longest)


class _Stream(httpcore2.NetworkStream):
    """A connected socket, plain or TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._retired = False
        self._made = time.monotonic()

    def retire(self) -> None:
        """Makes the connection be closed instead of used again."""
        self._retired = True

    def _patiently(self, operation: Callable[[], _Result], failure: type[Exception]) -> _Result:
        pauses = patience()
        while True:
            self._sock.settimeout(_slice(next(pauses)))
            try:
                return operation()
            except TimeoutError:
                continue
            except OSError as error:
                raise failure(error.strerror or str(error)) from error

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._patiently(lambda: self._sock.recv(max_bytes), httpcore2.ReadError)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        left = memoryview(buffer)
        while left:
            left = left[self._patiently(partial(self._sock.send, left), httpcore2.WriteError) :]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        try:
            secure = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        except OSError as error:
            self._sock.close()
            raise httpcore2.ConnectError(str(error)) from error
        stream = _Stream(secure)
        try:
            stream._patiently(secure.do_handshake, httpcore2.ConnectError)
        except BaseException:
            secure.close()
            raise
        return stream

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._sock
        if info != "is_readable":
            return None
        # An idle connection that can be read has been closed by its server.
        old = time.monotonic() - self._made > CONNECTION_AGE
        return self._retired or old or _poll(self._sock, select.POLLIN, 0.0)


def _poll(sock: socket.socket, event: int, seconds: float) -> bool:
    # Not select(), which fails above descriptor 1,024.
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(seconds * 1000))


class _Backend(httpcore2.NetworkBackend):
    """Makes connections."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        give_up = time.monotonic() + (timeout if timeout is not None else float("inf"))
        problem: OSError | None = None
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore2.ConnectError(f"the host name {host} is not known") from error
        for family, kind, protocol, _, address in addresses:
            try:
                return _Stream(_connect(family, kind, protocol, address, give_up))
            except OSError as error:
                problem = error
        if isinstance(problem, TimeoutError):
            raise httpcore2.ConnectTimeout(f"no connection within {timeout} s") from problem
        raise httpcore2.ConnectError(problem.strerror if problem and problem.strerror else "no address") from problem


def _connect(family: int, kind: int, protocol: int, address: Any, give_up: float) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            while not _poll(sock, select.POLLOUT, _slice()):
                if time.monotonic() > give_up:
                    raise TimeoutError
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEP_ALIVE_PROBES.items():
            if hasattr(socket, name):  # not every system has all of them
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except BaseException:
        sock.close()
        raise
    return sock


class StoppableTransport(httpx2.BaseTransport):
    """A transport for `httpx2.Client` with bounded answers, under the watch of `watched`.

    Proxies in the environment are not used: model servers are reached directly, the one on loopback most of all.
    """

    def __init__(self, *, secure: bool, secret: str = "", max_body: int = 4 << 20, max_idle: int = 64) -> None:
        """Makes a transport.

        Args:
            secure: Whether https is spoken; loading the certificates takes tens of milliseconds.
            secret: The API key. Some servers repeat the key that they refuse: it is taken out of every answer.
            max_body: The most bytes that an answer may have.
            max_idle: The most idle connections that are kept.
        """
        self._secret = secret.encode()
        self._max_body = max_body
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context() if secure else None,
            max_connections=None,  # a wait for a free connection could not be watched
            max_keepalive_connections=max_idle,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends the request and reads the whole answer.

        Raises:
            Interrupted: The watch said stop.
            UnreadableAnswer: The body is too long or compressed.
            httpx2.TransportError: The connection failed.
        """
        url = request.url
        headers = [(name, value) for name, value in request.headers.raw if name.decode().lower() in PASSED_HEADERS]
        headers += [(b"accept-encoding", b"identity"), (b"user-agent", b"longvideo")]
        sent = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=headers,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            response = self._pool.handle_request(sent)
            if response.status >= 500:
                # vLLM drops the connection after a 500 without saying so: a request that came next would be lost.
                response.extensions["network_stream"].retire()
            try:
                body = self._read(response)
            finally:
                response.close()
        except httpcore2.TimeoutException as error:
            raise httpx2.ConnectTimeout(str(error)) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise httpx2.NetworkError(str(error)) from error
        return httpx2.Response(
            response.status,
            headers=[(name, self._without_secret(value)) for name, value in response.headers],
            content=self._without_secret(body),
        )

    def _without_secret(self, data: bytes) -> bytes:
        return data.replace(self._secret, b"***") if self._secret else data

    def _read(self, response: httpcore2.Response) -> bytes:
        for name, value in response.headers:
            if name.lower() == b"content-encoding" and value.lower() != b"identity":
                raise UnreadableAnswer("the answer is compressed, although none was asked for")
        body = bytearray()
        for piece in response.iter_stream():
            body += piece
            if len(body) > self._max_body:
                raise UnreadableAnswer(f"the answer has more than {self._max_body} bytes")
        return bytes(body)

    def close(self) -> None:
        """Closes all connections. No request may be under way."""
        self._pool.close()
