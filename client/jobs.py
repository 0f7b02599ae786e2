"""`longvideo jobs`: questions that are submitted, and watched or not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from client import checks, document, exits, render, videos, words
from client.api import Client
from client.connection import open_client
from client.exits import Stopped
from client.options import Cut, Models, Spend, Where, spread
from client.screen import Screen
from longvideo.errors import InvalidArgument, NotFound
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

app = typer.Typer(no_args_is_help=True, help="Questions that run on their own.", rich_markup_mode="markdown")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's name, jobs/….", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
# A file of questions is read whole.
_MAX_FILE_BYTES = 16 * 1024 * 1024
_MAX_QUESTIONS = 1000


@app.command()
@spread
def submit(
    *,
    video: videos.VideoArgument,
    question: Annotated[str | None, typer.Argument(help="What you want to know.", show_default=False)] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar='"A. …"', help="One option of a multiple choice. Repeat for each.")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='JSON lines: {"question": "…", "options": ["A. …", "B. …"], "truth": "B"}.'),
    ] = None,
    max_rounds: Annotated[int, typer.Option(min=1, max=100, help="How many rounds each question gets.")] = 30,
    max_seconds: Annotated[float, typer.Option(min=1, max=86400, help="How long each question may take.")] = 3600,
    batch: Annotated[
        bool, typer.Option("--batch", help="Nobody waits for it: everybody's other questions go first.")
    ] = False,
    label: Annotated[
        str, typer.Option(metavar="NAME", help="What its cost is grouped by, such as the name of a data set.")
    ] = "",
    cut: Cut,
    spend: Spend,
    where: Where,
) -> None:
    """Submits a job and prints its name. A server works on it at once; without one, `jobs watch` does.

    Examples:
    - `longvideo jobs submit talk.mp4 "Who speaks first?" --server 127.0.0.1:7700`

    - `longvideo jobs submit 3f9a1c --questions questions.jsonl --max-gpu-seconds 3600`

    Where a file says the `truth` of a question, no model is shown it. Of a multiple choice it is the letter of the
    right option, and the job tells how many answers are right; of another question it is kept and shown.
    """
    if (question is None) == (questions is None):
        raise InvalidArgument("Give a QUESTION or --questions FILE, one of them.", field="questions")
    if questions is not None and option:
        raise InvalidArgument(
            "--option goes with a QUESTION; in a file the options stand beside theirs.", field="option"
        )
    asked = [checks.question(question or "", option or [])] if questions is None else _read(questions)
    budget = spend.budget()
    videos.check(video)
    limits = pb.EpisodeLimits(max_rounds=max_rounds)
    limits.max_duration.FromNanoseconds(round(max_seconds * 1e9))
    with open_client(where, command="longvideo jobs submit", work=False, check=False) as client:
        found = videos.find_or_add(client, video, Screen(sys.stderr))
        priority = types_pb2.PRIORITY_BATCH if batch else types_pb2.PRIORITY_INTERACTIVE
        job = client.submit(found.name, asked, cut.config(), limits, priority, label=label, budget=budget)
    print(job.name)
    if not where.server:
        print(f"It waits for somebody to work on it: longvideo jobs watch {job.name}", file=sys.stderr)


def _read(path: Path) -> list[pb.Question]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.", reason="FILE_UNREADABLE") from None
    if len(content) > _MAX_FILE_BYTES:
        raise InvalidArgument(f"{path} is larger than {words.size(_MAX_FILE_BYTES)}.", field="questions")
    lines = [(n, line) for n, line in enumerate(content.decode("utf-8-sig", "replace").split("\n"), 1) if line.strip()]
    if not 1 <= len(lines) <= _MAX_QUESTIONS:
        raise InvalidArgument(
            f"{path} has {len(lines)} questions; it must have from 1 to {_MAX_QUESTIONS}.", field="questions"
        )
    return [_question(line, f"{path}, line {number}") for number, line in lines]


def _question(line: str, where: str) -> pb.Question:
    try:
        given: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{where}: not JSON: {error}.", field="questions") from None
    options = given.get("options") or [] if isinstance(given, dict) else []
    if (
        not isinstance(given, dict)
        or not isinstance(given.get("question"), str)
        or not isinstance(options, list)
        or not all(isinstance(option, str) for option in options)
        or not isinstance(given.get("truth") or "", str)
        or given.keys() - {"question", "options", "truth"}
    ):
        raise InvalidArgument(
            f'{where}: it must look like {{"question": "…", "options": ["A. …", "B. …"], "truth": "B"}}; options and '
            "truth may be left out.",
            field="questions",
        )
    try:
        return checks.question(given["question"], options, given.get("truth") or "")
    except InvalidArgument as error:
        raise InvalidArgument(f"{where}: {error.message}", field="questions") from None


@app.command()
@spread
def watch(
    job: JobArgument,
    position: Annotated[int, typer.Option(min=0, help="Go on after this position of its events.")] = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show captions and thoughts in full.")] = False,
    *,
    where: Models,
) -> None:
    """Shows what happens in a job until it has ended, and its results. Stopping the watch does not stop the job.

    Exits with 0 when every question was answered, 1 when one ended without an answer, 2 when something must be mended.
    """
    name = job_name(job)
    with open_client(where, command="longvideo jobs watch") as client:
        code = _watch(client, Screen(sys.stdout), name, position, verbose=verbose, server=where.server)
    raise typer.Exit(code)


def _watch(client: Client, screen: Screen, name: str, position: int, *, verbose: bool, server: str) -> int:
    count = len(client.job(name).episodes)
    narrators: dict[str, render.Narrator] = {}
    episode = ""
    try:
        with screen.waiting() as waiting:
            for event in client.watch(name, position):
                position = event.position
                if event.episode != episode and count > 1:
                    number = event.episode.rpartition("/")[2]
                    screen.plain(f"Question {number} of {count}", "bold")
                episode = event.episode
                narrators.setdefault(episode, render.Narrator(screen, verbose, waiting)).show(event)
        return _results(client, screen, name)
    except KeyboardInterrupt:
        goes = "The server goes on with it" if server else "It goes on from its last finished round when watched again"
        raise Stopped(f"Stopped watching {name} at position {position}. {goes}.") from None


def _results(client: Client, screen: Screen, name: str) -> int:
    job = client.job(name)
    for episode in job.episodes:
        screen.plain()
        screen.line("Question", words.one_line(episode.question.text), "bold")
        took = words.instant(episode.end_time) - words.instant(episode.start_time or episode.create_time)
        render.result(screen, episode, client.usage(episode.name), max(0.0, took))
    if job.judged_count:
        screen.plain()
        screen.line("Right", words.right(job))
    return max((exits.of_episode(episode) for episode in job.episodes), default=exits.OK)


@app.command()
@spread
def show(job: JobArgument, as_json: AsJson = False, *, where: Where) -> None:
    """Shows a job, its questions and their answers."""
    name = job_name(job)
    with open_client(where, command="longvideo jobs show", work=False, check=False) as client:
        found = client.job(name)
        usage = client.usage(name)
    if as_json:
        print(document.dump({**document.job(found), "usage": document.usage(usage)}))
        return
    screen = Screen(sys.stdout)
    screen.line("Job", found.name)
    screen.line("State", words.state(found.state))
    screen.line("Video", found.video)
    screen.line("Submitted", words.local_time(found.create_time))
    if found.priority == types_pb2.PRIORITY_BATCH:
        screen.line("Priority", "batch: other questions go first")
    if found.label:
        screen.line("Label", words.one_line(found.label))
    if found.waiting_reason:
        screen.line("Waiting", words.one_line(found.waiting_reason, 200), "yellow")
    if found.HasField("budget"):
        screen.line("Budget", words.budget(found))
    if found.judged_count:
        screen.line("Right", words.right(found))
    for number, episode in enumerate(found.episodes, 1):
        screen.plain()
        screen.line(f"Question {number}"[:9], words.one_line(episode.question.text, render.EXCERPT_CHARS), "bold")
        for option in episode.question.options:
            screen.line("", words.one_line(option, render.EXCERPT_CHARS))
        if episode.state == pb.Episode.STATE_ANSWERED:
            screen.line("Answer", render.answer(episode), "bold green")
        elif episode.ending:
            screen.line("No answer", render.why(episode), "bold yellow")
        else:
            screen.line("State", f"{words.episode_state(episode.state)}, {words.plural(episode.round_count, 'round')}")
        render.truth(screen, episode)
    screen.plain()
    render.usage_table(screen, usage)


@app.command("list")
@spread
def list_jobs(
    video: Annotated[str, typer.Option(metavar="VIDEO", help="Only jobs about this video.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
    *,
    where: Where,
) -> None:
    """Lists jobs, newest first."""
    with open_client(where, command="longvideo jobs list", work=False, check=False) as client:
        name = videos.find(client, video).name if video else ""
        found = [job for _, job in zip(range(limit), client.jobs(name), strict=False)]
    if as_json:
        print(document.dump({"jobs": [document.job(job) for job in found]}))
        return
    screen = Screen(sys.stdout)
    if not found:
        screen.plain('No jobs yet. Submit one: longvideo jobs submit VIDEO "…"')
        return
    rows = [
        (
            job.name,
            words.state(job.state),
            f"{len(job.questions):,}",
            job.video.removeprefix("videos/")[:12],
            words.right(job),
            words.local_time(job.create_time),
            words.one_line(job.questions[0].text, 60) if job.questions else "",
        )
        for job in found
    ]
    names = ("job", "state", "questions", "video", "right", "submitted", "first question")
    screen.table(names, rows, right=("questions",))


@app.command()
@spread
def cancel(job: JobArgument, *, where: Where) -> None:
    """Stops a job. What its questions have found so far is kept."""
    name = job_name(job)
    with open_client(where, command="longvideo jobs cancel", work=False, check=False) as client:
        print(f"{name} {words.state(client.cancel(name).state)}")


def job_name(job: str) -> str:
    """Returns a job's name, which a user may give without its collection."""
    return job if job.startswith("jobs/") else f"jobs/{job}"
