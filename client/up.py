"""`longvideo up`: all services in one process."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated

import typer

from client import signals, words
from client.options import Models, spread
from longvideo.errors import BadSettings

_HOST = (
    "The address to listen on. One that other machines can reach needs TLS and tokens "
    "(LONGVIDEO_API_TLS_CERT, LONGVIDEO_API_TLS_KEY, LONGVIDEO_AUTH), or LONGVIDEO_INSECURE=true."
)


@spread
def up(
    host: Annotated[str, typer.Option(help=_HOST)] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of the API; 0 takes any free one.")] = 7700,
    *,
    where: Models,
) -> None:
    """Runs all services in one process, for gRPC clients and for other `longvideo` commands, until it is stopped.

    Prints the addresses, and `ready` when it takes questions. Jobs that were left unfinished go on.

    Examples:
    - `longvideo up`

    - `longvideo up --port 0 --data-dir /data/longvideo --caption-url http://gpu2:8000/v1 --qa-url http://gpu2:8000/v1`
    """
    if where.server:
        raise BadSettings("`longvideo up` is the server: leave out --server.")
    from client.stack import Stack, stack_settings  # noqa: PLC0415  # heavy, and not needed for --help
    from longvideo import telemetry  # noqa: PLC0415

    overrides = {**where.overrides(), "api_listen": f"{host}:{port}"}
    settings = stack_settings(overrides, where)
    logging.getLogger().setLevel(logging.WARNING)
    signals.tidy_up()
    with (
        telemetry.configured(settings, "longvideo"),
        Stack(settings, command="longvideo up", public=True) as stack,
    ):
        print(f"api       {stack.address}")
        print(f"captions  {stack.caption_address}")
        print(f"video qa  {stack.qa_address}")
        if stack.metrics_address:
            print(f"metrics   http://{stack.metrics_address}/metrics")
        if stack.offline_url:
            print(f"models    {stack.offline_url} (offline)")
        print(f"data      {settings.data_dir}")
        if stack.unfinished:
            print(f"resuming  {words.plural(stack.unfinished, 'question')} from before")
        print("ready", flush=True)
        _until_stopped()
        print("stopping", file=sys.stderr, flush=True)


def _until_stopped() -> None:
    """Returns when a signal says stop."""
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return
