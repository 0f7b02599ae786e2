"""`longvideo tree`: the captions of a video."""

from __future__ import annotations

import re
import sys
import time
from enum import StrEnum
from typing import Annotated

import typer

from client import document, render, videos, words
from client.api import Client
from client.connection import open_client
from client.exits import Stopped
from client.options import Cut, Models, spread
from client.screen import Screen
from longvideo.errors import InvalidArgument
from longvideo.segments import LEVELS
from longvideo.v1 import orchestrator_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="The captions of a video.", rich_markup_mode="markdown")


class Level(StrEnum):
    """A level of the tree, from the top."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@app.command()
@spread
def show(
    video: videos.VideoArgument,
    segment: Annotated[
        str, typer.Argument(help="Only this segment and what lies below it: `2`, `2,4` or `2,4,1`.", show_default=False)
    ] = "",
    missing: Annotated[bool, typer.Option("--all", help="Show segments without a caption too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show captions in full.")] = False,
    *,
    cut: Cut,
    where: Models,
) -> None:
    """Shows the captions that exist, as a tree with times. Calls no model.

    Captions belong to the models and settings they were made with: give the same options as for the question.

    Examples:
    - `longvideo tree show talk.mp4`

    - `longvideo tree show 3f9a1c 2,4 --verbose`
    """
    path = _path(segment)
    videos.check(video)
    with open_client(where, command="longvideo tree show", work=False, check=False) as client:
        found = videos.find(client, video)
        tree = client.tree(found.name, path, cut.config())
    if as_json:
        shown = [document.caption(caption) for caption in tree.captions if missing or caption.text]
        print(document.dump({"video": tree.video, "width": tree.width, "captions": shown}))
        return
    screen = Screen(sys.stdout)
    known = sum(bool(caption.text) for caption in tree.captions)
    screen.plain(words.video(found), "bold")
    screen.plain(f"Width {tree.width}; {known:,} of {words.plural(len(tree.captions), 'caption')} known")
    for caption in tree.captions:
        if caption.text or missing:
            depth = len(caption.segment.path) - max(1, len(path))
            screen.plain("  " * (depth + 1) + render.captions_line(caption, verbose), "" if caption.text else "dim")
    if not known:
        screen.plain("Ask a question, or make them all: longvideo tree build VIDEO")


def _path(segment: str) -> list[int]:
    numbers = re.fullmatch(r"\(?\s*(\d{1,3}(?:\s*,\s*\d{1,3})*)?\s*\)?", segment)
    path = [int(number) for number in numbers[1].split(",")] if numbers and numbers[1] else []
    if numbers is None or len(path) > LEVELS:
        raise InvalidArgument(f"The segment {segment!r} must look like 2, 2,4 or 2,4,1.", field="segment")
    return path


@app.command()
@spread
def build(
    video: videos.VideoArgument,
    level: Annotated[Level, typer.Option(help="Down to which level.")] = Level.LOW,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show captions in full.")] = False,
    *,
    cut: Cut,
    where: Models,
) -> None:
    """Captions a whole tree ahead of time, several segments at once, so that questions cost less.

    What exists is kept: stop it when you like, and run it again to go on.

    Examples:
    - `longvideo tree build talk.mp4`

    - `longvideo tree build talk.mp4 --level medium --sampling light`
    """
    videos.check(video)
    screen = Screen(sys.stdout)
    with open_client(where, command="longvideo tree build", work=False) as client:
        found = videos.find_or_add(client, video, screen)
        _build(client, screen, found.name, list(Level).index(level) + 1, cut.config(), verbose=verbose)


def _build(client: Client, screen: Screen, video: str, level: int, config: pb.TreeConfig, *, verbose: bool) -> None:
    start, made, calls, done, total = time.monotonic(), 0, 0, 0, 0
    try:
        with screen.working("Captioning") as advance:
            for step in client.build_tree(video, level, config):
                done, total = step.done_count, step.total_count
                advance(done, total)
                calls += len(step.calls)
                if not step.cached:
                    made += 1
                    screen.plain(f"{done} of {total}  {render.captions_line(step.caption, verbose)}")
    except KeyboardInterrupt:
        raise Stopped(f"Stopped. Kept: {words.plural(done, 'caption')} of {total}; run it again to go on.") from None
    took = time.monotonic() - start
    screen.line(
        "Captions", f"{done} of {total} known, {made} made now with {words.plural(calls, 'call')}, {took:.1f} s"
    )
