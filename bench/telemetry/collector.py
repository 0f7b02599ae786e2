"""A collector as a process, which takes every span and keeps none: `python -m bench.telemetry.collector`.

It prints where it listens, and looks into nothing, so that it takes little of the machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"


def serve() -> tuple[grpc.Server, int]:
    """Starts a collector on a free port of this machine."""
    # An empty answer says that everything was taken.
    method: Any = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_registered_method_handlers(SERVICE, {"Export": method})
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


if __name__ == "__main__":
    running, port = serve()
    print(port, flush=True)
    running.wait_for_termination()
