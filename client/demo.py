"""`longvideo demo`: makes a sample video, and asks about it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from client import checks, exits
from client.ask import PATIENCE_SECONDS, present
from client.asking import Asking
from client.connection import open_client
from client.exits import Stopped
from client.options import Where, spread
from client.screen import Screen
from longvideo.errors import BadSettings
from longvideo.v1 import orchestrator_pb2 as pb


@spread
def demo(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show captions and thoughts in full.")] = False,
    *,
    where: Where,
) -> None:
    """Makes a sample video of ten minutes, once, and asks an open and a multiple-choice question about it.

    It does what `longvideo ask` does. Nothing but the video's pixels holds the answers: look for yourself.
    """
    if where.server:
        raise BadSettings("`longvideo demo` runs on its own: leave out --server.")
    from client.sample import make_sample  # noqa: PLC0415  # the encoder
    from longvideo import settings  # noqa: PLC0415

    screen = Screen(sys.stdout)
    directory = settings.load(**where.overrides()).data_dir / "sample"
    codes = []
    # The stack first: it holds the data directory.
    with open_client(where, command="longvideo demo", patience=PATIENCE_SECONDS) as client:
        try:
            with screen.working("Making a sample video, once"):
                sample = make_sample(directory)
        except KeyboardInterrupt:
            raise Stopped("Stopped. Nothing was kept: the sample video was not finished.") from None
        screen.line("Sample", str(sample.video))
        asking = Asking(client, screen, pb.TreeConfig(), pb.EpisodeLimits(), verbose, where=where)
        asking.add(sample.video, sample.subtitles)
        for item in sample.questions:
            question = checks.question(item.text, item.options)
            screen.plain()
            screen.line("Question", item.text, "bold")
            for option in item.options:
                screen.line("", option)
            codes.append(present(asking, asking.ask(question), sys.stdout))
    raise typer.Exit(max(codes, default=exits.OK))
