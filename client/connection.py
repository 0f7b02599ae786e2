"""Finds the orchestrator that a command talks to: a server's, or one of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from client import signals
from client.api import Client
from client.options import Models, Where

if TYPE_CHECKING:
    from longvideo.settings import Settings


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
        from client.server import open_server  # noqa: PLC0415  # pydantic and gRPC, which --help does without
        from longvideo import settings  # noqa: PLC0415

        signals.tidy_up()
        configured = settings.load()
        with _traced(configured, command, "client"), open_server(where.server, configured) as client:
            yield client
        return
    # The stack needs SQLAlchemy, Celery and more: what only talks to a server does without.
    from client.stack import Stack, stack_settings  # noqa: PLC0415
    from longvideo import rpc  # noqa: PLC0415

    signals.tidy_up()
    configured = stack_settings(overrides, where if isinstance(where, Models) else Models(), patience)
    with (
        _traced(configured, command, "longvideo"),
        Stack(configured, command=command, work=work, check=check) as stack,
        contextlib.closing(rpc.connect(stack.address)) as channel,
    ):
        yield Client(channel)


@contextlib.contextmanager
def _traced(configured: Settings, command: str, service: str) -> Iterator[None]:
    """Makes a trace of what the command does within, where the settings want traces."""
    from longvideo import telemetry  # noqa: PLC0415

    with telemetry.configured(configured, service), telemetry.span(command, telemetry.Kind.CLIENT):
        yield


def warn(message: str) -> None:
    """Tells the user something that does not stop the command."""
    from client import words  # noqa: PLC0415

    print(f"Warning: {words.clean(message)}", file=sys.stderr, flush=True)
