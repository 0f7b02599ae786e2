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
    authenticate: Authenticate | None = None,
    max_workers: int = 64,
) -> Server:
    """Starts a server with health checking and reflection.

    `servicers` holds, for each service, its full name, its generated `add_…_to_server` function and the servicer.
    `address` is `host:port`, port 0 for any free one; `Server.address` has the real one. With `authenticate` every call
    needs a token that it knows, but for health checks, and there is no reflection; without it everybody is
    `auth.LOCAL`. Raises Unavailable when the address cannot be used.
    """
    server = grpc.server(
        ThreadPoolExecutor(max_workers, "rpc"), interceptors=[Calls(authenticate)], options=SERVER_OPTIONS
    )
    for _, add, servicer in servicers:
        add(servicer, server)
    checker = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    names = [name for name, _, _ in servicers]
    for name in ["", *names]:
        checker.set(name, health_pb2.HealthCheckResponse.SERVING)
    if authenticate is None:
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    host = address.rpartition(":")[0]
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise errors.Unavailable(f"Cannot listen on {address}: {error}", reason="ADDRESS_UNAVAILABLE") from None
    server.start()
    return Server(f"{host}:{port}", server, checker)
