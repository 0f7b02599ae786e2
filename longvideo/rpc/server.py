"""The callee's side: servers with health checking and reflection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from longvideo import errors
from longvideo.rpc.interceptor import Authenticate, Calls
from longvideo.rpc.limits import SERVER_OPTIONS

Service = tuple[str, Callable[[Any, grpc.Server], None], Any]
"""The full name of a service, its generated `add_…_to_server` function, and the servicer."""


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
    services: Sequence[Service],
    address: str = "127.0.0.1:0",
    *,
    tls: grpc.ServerCredentials | None = None,
    authenticate: Authenticate | None = None,
    max_workers: int = 64,
) -> Server:
    """Starts a server with health checking and reflection.

    `address` is `host:port`, port 0 for any free one; `Server.address` has the real one. `tls` comes from
    `longvideo.tls`; without it the port is plain. With `authenticate` every call
    needs a token that it knows, but for health checks, and there is no reflection; without it everybody is
    `auth.LOCAL`. Raises Unavailable when the address cannot be used.
    """
    server = grpc.server(
        ThreadPoolExecutor(max_workers, "rpc"), interceptors=[Calls(authenticate)], options=SERVER_OPTIONS
    )
    for _, add, servicer in services:
        add(servicer, server)
    checker = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    names = [name for name, _, _ in services]
    for name in ["", *names]:
        checker.set(name, health_pb2.HealthCheckResponse.SERVING)
    if authenticate is None:
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    host = address.rpartition(":")[0]
    try:
        port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise errors.Unavailable(f"Cannot listen on {address}: {error}", reason="ADDRESS_UNAVAILABLE") from None
    server.start()
    return Server(f"{host}:{port}", server, checker)
