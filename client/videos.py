"""`longvideo videos`: the videos that are known."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from client import checks, document, words
from client.api import Client, file_digest, video_name
from client.asking import Asking
from client.connection import open_client
from client.options import Where, spread
from client.screen import Screen
from longvideo.errors import InvalidArgument, NotFound
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

app = typer.Typer(no_args_is_help=True, help="The videos that are known.", rich_markup_mode="markdown")

VideoArgument = Annotated[
    str,
    typer.Argument(metavar="VIDEO", help="A file, a name (videos/…), or the first 6 or more digits of its digest."),
]
_DIGITS = re.compile(r"(?:videos/)?([0-9a-f]{6,64})")


@app.command()
@spread
def add(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH…",
            help="Video files; with --server also s3://bucket/key on the server's own storage.",
            show_default=False,
        ),
    ],
    subtitles: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Subtitles; for one video. Default: a file beside it.")
    ] = None,
    *,
    where: Where,
) -> None:
    """Makes video files known: checks them, indexes their frames, and prints their names.

    Nothing is copied where a link will do. An upload that was interrupted goes on when the command is run again.

    Examples:
    - `longvideo videos add talk.mp4 film.mkv`

    - `longvideo videos add --server gpu1:7700 s3://archive/2024/talk.mp4`
    """
    if subtitles is not None:
        if len(sources) > 1:
            raise InvalidArgument("--subtitles goes with one video.", field="subtitles")
        checks.subtitle_file(subtitles)
    for source in sources:
        if not _is_object(source):
            checks.video_file(Path(source))
            checks.container(Path(source))
    screen = Screen(sys.stdout)
    with open_client(where, command="longvideo videos add", work=False, check=False) as client:
        for source in sources:
            asking = Asking(client, screen, pb.TreeConfig(), pb.EpisodeLimits())
            added = asking.register(source, subtitles) if _is_object(source) else asking.add(Path(source), subtitles)
            screen.line("Name", added.name)


def _is_object(source: str) -> bool:
    return source.startswith("s3://")


@app.command("list")
@spread
def list_videos(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False, *, where: Where
) -> None:
    """Lists the videos that are known, newest first."""
    with open_client(where, command="longvideo videos list", work=False, check=False) as client:
        found = list(client.videos())
    if as_json:
        print(document.dump({"videos": [document.video(video) for video in found]}))
        return
    screen = Screen(sys.stdout)
    if not found:
        screen.plain("No videos yet. Add one: longvideo videos add PATH")
        return
    rows = [
        (
            video.name.removeprefix("videos/")[:12],
            words.one_line(video.display_name, 40),
            words.clock(words.seconds(video.duration)) if video.state == video.STATE_READY else "not added yet",
            f"{video.width_px}×{video.height_px}",
            video.codec,
            words.size(video.size_bytes),
            words.local_time(video.create_time),
        )
        for video in found
    ]
    screen.table(("digest", "file", "length", "picture", "codec", "size", "added"), rows, right=("length", "size"))


@app.command()
@spread
def show(
    video: VideoArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    *,
    where: Where,
) -> None:
    """Shows a video. Example: `longvideo videos show 3f9a1c`."""
    with open_client(where, command="longvideo videos show", work=False, check=False) as client:
        found = find(client, video)
    if as_json:
        print(document.dump(document.video(found)))
        return
    screen = Screen(sys.stdout)
    screen.line("Video", words.video(found))
    screen.line("Name", found.name)
    screen.line("Frames", f"{found.frame_count:,}")
    screen.line("Container", found.container)
    if found.subtitles:
        screen.line("Subtitles", found.subtitles)
    for warning in found.warnings:
        screen.line("Warning", words.one_line(warning), "yellow")
    screen.line("Added", words.local_time(found.create_time))


@app.command()
@spread
def delete(video: VideoArgument, *, where: Where) -> None:
    """Gives a video up, with its subtitles and captions. Your file, and the jobs about it, stay.

    Example:
    - `longvideo videos delete 3f9a1c`
    """
    with open_client(where, command="longvideo videos delete", work=False, check=False) as client:
        found = find(client, video)
        client.delete_video(found.name)
    print(f"Deleted {found.name}.")


def find(client: Client, given: str) -> types_pb2.Video:
    """Returns the video that a person means: by its file, its name, or the start of its digest. Raises NotFound.

    A file counts only when the server knows it; nothing is added.
    """
    path = Path(given)
    if path.exists():
        checks.video_file(path)
        name = video_name(file_digest(path))
        try:
            return client.video(name)
        except NotFound:
            raise NotFound(
                f"{given} is not known yet; add it: longvideo videos add {given}", reason="VIDEO_NOT_FOUND"
            ) from None
    digits = _DIGITS.fullmatch(given)
    if digits is None:
        raise NotFound(
            f"{words.one_line(given, 80)!r} is neither a file nor the name of a video; "
            "give a path, videos/…, or at least 6 digits of the digest.",
            reason="VIDEO_NOT_FOUND",
        )
    return _only(given, [video for video in client.videos() if video.name.startswith(f"videos/{digits[1]}")])


def _only(given: str, found: list[types_pb2.Video]) -> types_pb2.Video:
    if not found:
        raise NotFound(f"No video is called {given}; see: longvideo videos list", reason="VIDEO_NOT_FOUND")
    if len(found) > 1:
        raise InvalidArgument(f"{given} stands for {len(found)} videos; give more digits.", field="video")
    return found[0]


def find_or_add(client: Client, given: str, screen: Screen) -> types_pb2.Video:
    """Returns the video that a person means; adds a file that is not known yet. Raises NotFound, BadMedia, Stopped."""
    path = Path(given)
    if not path.exists():
        return find(client, given)
    return Asking(client, screen, pb.TreeConfig(), pb.EpisodeLimits()).add(path, None)


def check(given: str) -> None:
    """Raises NotFound or BadMedia for a file that cannot be a video, before anything is started."""
    path = Path(given)
    if path.exists() or not _DIGITS.fullmatch(given):
        checks.video_file(path)
        checks.container(path)
