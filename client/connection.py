"""Finds the orchestrator that a command talks to: a server's, or one of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from client import signals
from client.api import Client
from client.options import Models, Where
from longvideo import errors
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import orchestrator_pb2_grpc

# A server on this machine or near it answers within milliseconds.
_HELLO_SECONDS = 5.0


@contextlib.contextmanager
def open_client(
    where: Where, *, command: str, work: bool = True, check: bool = True, patience: float | None = None
) -> Iterator[Client]:
    """Gives a client of the server that the options name, or of a stack of the command's own.

    `command` stands in the message that another process gets which wants the same data directory. The own stack carries
    questions out, those that were left unfinished too, unless `work` is false, and first asks the model servers whether
    they are there unless `check` is false. `patience` is how many seconds a question waits for models that do not
    answer, unless the environment says.
    """
    overrides = where.overrides()
    if where.server:
        with _server(where.server) as client:
            yield client
        return
    # The stack needs SQLAlchemy, Celery and more: what only talks to a server does without.
    from client.stack import Stack, stack_settings  # noqa: PLC0415
    from longvideo import rpc  # noqa: PLC0415

    signals.tidy_up()
    settings = stack_settings(overrides, where if isinstance(where, Models) else Models(), patience)
    with (
        Stack(settings, command=command, work=work, check=check) as stack,
        contextlib.closing(rpc.connect(stack.address)) as channel,
    ):
        yield Client(channel)


@contextlib.contextmanager
def _server(address: str) -> Iterator[Client]:
    from longvideo import rpc  # noqa: PLC0415

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise errors.BadSettings(f"--server is {address!r}; it must look like 127.0.0.1:7700.")
    signals.tidy_up()
    with contextlib.closing(rpc.connect(address)) as channel:
        hello = orchestrator_pb2_grpc.OrchestratorServiceStub(channel)
        try:
            hello.ListVideos(pb.ListVideosRequest(page_size=1), timeout=_HELLO_SECONDS)
        except (errors.Unavailable, errors.DeadlineExceeded):
            raise errors.Unavailable(
                f"No longvideo server answers at {address}. Start one with `longvideo up`, or leave out --server.",
                reason="SERVER_UNAVAILABLE",
            ) from None
        except errors.Internal:
            raise errors.BadSettings(f"What answers at {address} is not a longvideo server.") from None
        yield Client(channel)


def warn(message: str) -> None:
    """Tells the user something that does not stop the command."""
    from client import words  # noqa: PLC0415

    print(f"Warning: {words.clean(message)}", file=sys.stderr, flush=True)
