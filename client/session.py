"""A session: one question after the other about one video, with all captions kept."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import TextIO

from client import checks, words
from client.asking import Asking
from client.render import answer, why
from longvideo import errors
from longvideo.v1 import orchestrator_pb2 as pb

_LEAVE = {"", "exit", "quit"}
_OPTION = re.compile(r"\s*[A-Z]\s*[.):]\s*\S")


def run(asking: Asking, stdin: TextIO, *, quiet: bool = False) -> None:
    """Asks what is typed until an empty line, `exit`, `quit` or the end of the input. Raises Stopped."""
    asking.screen.plain()
    asking.screen.plain(
        "Ask about the video; an empty line leaves. The options of a multiple choice go on further lines,"
    )
    asking.screen.plain('"A. …", "B. …". An empty line after the question asks it.')
    for text, options in questions(stdin):
        try:
            outcome = asking.ask(checks.question(text, options))
        except (errors.InvalidArgument, errors.FailedPrecondition, errors.Unavailable) as error:
            print(f"Error: {words.clean(error.message)}", file=sys.stderr, flush=True)
            continue
        if not quiet:
            asking.show(outcome)
        elif outcome.episode.state == pb.Episode.STATE_ANSWERED:
            print(answer(outcome.episode), flush=True)
        else:
            print(f"No answer: {why(outcome.episode)}", file=sys.stderr, flush=True)


def questions(stdin: TextIO) -> Iterator[tuple[str, list[str]]]:
    """Yields each question with its options, and prompts for them on a terminal.

    A question ends with an empty line, the end of the input, or a line that is no option and so the next question.
    """
    prompting = stdin.isatty()
    if prompting:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, PLC0415  # gives input() its line editing and history
    line = _read(stdin, "\nQuestion: " if prompting else "")
    while line.strip().lower() not in _LEAVE:
        question, options = line.strip(), []
        line = _read(stdin, "  option, or Enter to ask: " if prompting else "")
        while _OPTION.match(line):
            options.append(line.strip())
            line = _read(stdin, "  option, or Enter to ask: " if prompting else "")
        yield question, options
        line = line if line.strip() else _read(stdin, "\nQuestion: " if prompting else "")


def _read(stdin: TextIO, prompt: str) -> str:
    """Returns a line without its end; empty at the end of the input."""
    if not prompt:
        return stdin.readline().rstrip("\n")
    try:
        return input(prompt)
    except EOFError:
        return ""
