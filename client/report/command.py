"""`longvideo report`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from client import words
from client.connection import open_client
from client.jobs import JobArgument, job_name
from client.options import Where, spread
from client.screen import Screen
from longvideo.errors import NotFound


@spread
def report(
    job: JobArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the page goes.")] = Path(
        "report.html"
    ),
    question: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Only this question of the job, from 1. Repeat for more."),
    ] = None,
    *,
    where: Where,
) -> None:
    """Writes a page about a job: what was asked and answered, what was looked at when, and what it took.

    The page is one file that loads nothing from anywhere: send it, keep it, print it. A job that still runs is shown as
    far as it is. Whatever the job, the page has less than 40 MB: of long jobs, the last questions are shown without
    their steps; `--question` shows those.

    Examples:
    - `longvideo report jobs/3f9a1c…`

    - `longvideo report jobs/3f9a1c… -o harbour.html --question 17 --server 127.0.0.1:7700`
    """
    folder = output.absolute().parent
    if not folder.is_dir():
        raise NotFound(f"There is no directory {folder}; make it, or give another --output.", reason="FILE_NOT_FOUND")
    from client.report import gather, render  # noqa: PLC0415  # templates: not needed for --help

    with (
        open_client(where, command="longvideo report", work=False, check=False) as client,
        Screen(sys.stderr).working("Reading the job") as advance,
    ):
        found = gather.gather(client, job_name(job), question or [], advance)
    text = render.html(found)
    _write(output, text)
    print(f"{output} · {words.plural(len(found.asked), 'question')} · {words.size(len(text.encode()))}")


def _write(path: Path, text: str) -> None:
    """Writes a file as a whole: whoever opens it sees the old page or the new one."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=".report-", suffix=".html")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NotFound(f"{path} cannot be written: {error.strerror}.", reason="FILE_UNWRITABLE") from None
