"""The callee's side: servers with health checking and reflection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from longvideo import errors, metrics
from longvideo.rpc.health import Check, Health
from longvideo.rpc.interceptor import Authenticate, Calls
from longvideo.rpc.limits import DEFAULT_CONCURRENCY, Threads, server_options

Service = tuple[str, Callable[[Any, grpc.Server], None], Any]
"""The full name of a service, its generated `add_…_to_server` function, and the servicer."""


@dataclass
class Server:
    """A running gRPC server. `on_stop` is called when it begins to stop, to end calls that have no end of their own."""

    address: str
    _server: grpc.Server
    _health: Health
    on_stop: Callable[[], None] = lambda: None

    def stop(self, grace: float = 0.5) -> None:
        """Takes no new calls, and gives those in flight `grace` seconds before they are cancelled."""
        self._health.stop()
        self.on_stop()
        self._server.stop(grace).wait()

    def wait(self) -> None:
        """Blocks until the server has stopped."""
        self._server.wait_for_termination()


def serve(
    services: Sequence[Service],
    address: str = "127.0.0.1:0",
    *,
    tls: grpc.ServerCredentials | None = None,
    authenticate: Authenticate | None = None,
    checks: Mapping[str, Check] | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
) -> Server:
    """Starts a server with health checking and reflection.

    `address` is `host:port`, port 0 for any free one; `Server.address` has the real one. `tls` comes from
    `longvideo.tls`; without it the port is plain. With `authenticate` every call needs a token that it knows, but for
    health checks, and there is no reflection; without it everybody is `auth.LOCAL`. `checks` are what the services
    need, by name; see `longvideo.rpc.health`. More than `concurrency` calls at one time, streams among them, are
    refused with the reason SERVER_BUSY. Raises Unavailable when the address cannot be used.
    """
    threads = Threads(concurrency)
    server = grpc.server(threads, interceptors=[Calls(threads, authenticate)], options=server_options(concurrency))
    for _, add, servicer in services:
        add(servicer, server)
    names = [name for name, _, _ in services]
    for name in names:
        methods = descriptor_pool.Default().FindServiceByName(name).methods
        metrics.expect_rpcs(name, [method.name for method in methods])
    state = Health(names, checks or {})
    health_pb2_grpc.add_HealthServicer_to_server(state.servicer, server)
    if authenticate is None:
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    host = address.rpartition(":")[0]
    try:
        port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    except RuntimeError:
        raise errors.Unavailable(
            f"Cannot listen on {address}; the address is not this machine's, or another process listens there",
            reason="ADDRESS_UNAVAILABLE",
        ) from None
    server.start()
    state.start()
    return Server(f"{host}:{port}", server, state)
