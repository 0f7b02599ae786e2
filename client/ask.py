"""`longvideo ask`: a question about a video file, or a session of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TextIO

import typer

from client import checks, document, exits, session, words
from client.asking import Asking, Outcome
from client.connection import open_client
from client.options import Cut, Models, Spend, spread
from client.render import why
from client.screen import Screen
from longvideo.errors import InvalidArgument, LongVideoError
from longvideo.v1 import orchestrator_pb2 as pb

# How long one question waits for models that do not answer: somebody is sitting there.
PATIENCE_SECONDS = 30.0


@spread
def ask(
    *,
    video: Annotated[Path, typer.Argument(help="The video file.", show_default=False)],
    question: Annotated[
        str | None, typer.Argument(help="What you want to know. Without it a session opens.", show_default=False)
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar='"A. …"', help="One option of a multiple choice, its letter first. Repeat for each."),
    ] = None,
    subtitles: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An .srt or .vtt file. Default: one that lies beside the video."),
    ] = None,
    max_rounds: Annotated[int, typer.Option(min=1, max=100, help="How many rounds the reasoner gets.")] = 30,
    max_seconds: Annotated[float, typer.Option(min=1, max=86400, help="How long the question may take.")] = 3600,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; progress goes to stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the answer.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show captions and thoughts in full.")] = False,
    cut: Cut,
    spend: Spend,
    where: Models,
) -> None:
    """Asks a question about a video, and shows how the answer is found and what it cost.

    Exits with 0 when there is an answer, 1 when it ended without one, 2 when something must be mended first.

    Examples:
    - `longvideo ask talk.mp4 "Which year is on the last slide?"`

    - `longvideo ask match.mkv "Who scores first?" --option "A. Red" --option "B. Blue"`

    - `longvideo ask film.mp4 "…" --subtitles film.en.srt --max-rounds 15`

    - `longvideo ask film.mp4 "…" --json | jq .answer`

    - `longvideo ask film.mp4 "…" --reason-url http://gpu1:8000/v1 --caption-url http://gpu2:8000/v1
      --qa-url http://gpu2:8000/v1`

    The JSON document has: video, job, episode, question, options, truth (null: only files of questions have it),
    state, ending, answer, choice, correct (null without a truth), error, tree_width,
    evidence (segments with start and end), coverage (shares of the video), rounds (thought, action, observation), usage
    (calls, seconds and tokens by role, model and pool) and timings. Times are in seconds.
    """
    try:
        asked = _checked(video, question, option or [], subtitles, as_json=as_json)
        screen = Screen(sys.stderr if as_json else sys.stdout, quiet=quiet)
        limits = pb.EpisodeLimits(max_rounds=max_rounds)
        limits.max_duration.FromNanoseconds(round(max_seconds * 1e9))
        budget = spend.budget()
        with open_client(where, command="longvideo ask", patience=PATIENCE_SECONDS) as client:
            asking = Asking(client, screen, cut.config(), limits, verbose, budget, where)
            asking.add(video, subtitles)
            if asked is None:
                session.run(asking, sys.stdin, quiet=quiet)
                return
            code = present(asking, asking.ask(asked), sys.stdout, as_json=as_json, quiet=quiet)
    except LongVideoError as error:
        if as_json:
            print(document.dump(document.error(error)))
        raise
    raise typer.Exit(code)


def _checked(
    video: Path, question: str | None, options: list[str], subtitles: Path | None, *, as_json: bool
) -> pb.Question | None:
    """Checks what can be checked before anything is read or started; returns the question, None for a session."""
    checks.video_file(video)
    if question is None and (options or as_json):
        raise InvalidArgument(f"{'--option' if options else '--json'} needs a QUESTION.", field="question")
    asked = None if question is None else checks.question(question, options)
    if subtitles is not None:
        checks.subtitle_file(subtitles)
    checks.container(video)
    return asked


def present(asking: Asking, outcome: Outcome, stdout: TextIO, *, as_json: bool = False, quiet: bool = False) -> int:
    """Writes a result the way it was asked for, and returns the exit code."""
    episode = outcome.episode
    if as_json:
        print(document.dump(document.answered(outcome.video, episode, outcome.usage, outcome.timings)), file=stdout)
    elif quiet and episode.state == pb.Episode.STATE_ANSWERED:
        print(words.clean(episode.choice or episode.answer).strip(), file=stdout)
    if not as_json:
        asking.show(outcome)
    code = exits.of_episode(episode)
    if code == exits.BAD_INPUT or (code and (quiet or as_json)):
        print(f"No answer: {why(episode)}", file=sys.stderr, flush=True)
    return code
