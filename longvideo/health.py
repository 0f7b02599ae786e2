"""Asks a process whether it is well: `python -m longvideo.health ADDRESS [SERVICE]`, a probe for containers.

It reads the same settings as the process, and so connects with TLS where the process serves with TLS. Exits with 0
when the service is ready, and with 1 when it is not, is unknown, or does not answer. Without SERVICE it asks only
whether the process lives.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from longvideo import errors, rpc, settings, tls
from longvideo.settings import Settings


def main(argv: Sequence[str]) -> int:
    """Asks once, prints the answer, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m longvideo.health", description="Asks a process how it is.")
    parser.add_argument("address", metavar="ADDRESS", help="host:port")
    parser.add_argument("service", metavar="SERVICE", nargs="?", default="", help="such as longvideo.v1.CaptionService")
    parser.add_argument("--name", default="", help="a name on the certificate, when the address is none of them")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        configured = settings.load()
        channel = rpc.connect(options.address, tls=credentials(configured), name=options.name)
        state = _ask(channel, options.service, options.timeout)
    except errors.LongVideoError as error:
        print(f"{options.address}: {error.message}")
        return 1
    print(f"{options.address}: {state}")
    return 0 if state == "SERVING" else 1


def _ask(channel: grpc.Channel, service: str, timeout: float) -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    stub: Any = health_pb2_grpc.HealthStub(channel)  # whose type knows no methods
    with channel:
        try:
            answer = stub.Check(request, timeout=timeout)
        except errors.NotFound:
            return "SERVICE_UNKNOWN"
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def credentials(configured: Settings) -> grpc.ChannelCredentials | None:
    """Returns what fits the ports that a process with these settings has, or None where they are plain."""
    believed = [identity for identity in (configured.identity(), configured.api_identity()) if identity is not None]
    return tls.probing(believed) if believed else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
