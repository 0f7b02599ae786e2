"""The sample video of the demo: a made-up evening magazine whose details are drawn at random.

Nothing that the questions ask for is written down anywhere but in the pixels of the video: not in this code, not in
the subtitles and not in the file with the questions.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from client.sample import film, script
from client.sample.script import Cue, Programme

_STEM = "evening-magazine"
_PARTIAL = ".part"


@dataclass(frozen=True)
class SampleQuestion:
    """A question about the sample; `options` ("A. ...") is empty for an open one."""

    text: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """Where a sample is, and what to ask about it. The subtitles lie beside the video under the same stem."""

    video: Path
    subtitles: Path
    questions: tuple[SampleQuestion, ...]


def make_sample(directory: Path, seed: int | None = None) -> Sample:
    """Returns the sample in a directory; makes it, and the directory, if it is not there yet.

    A sample that is complete is left as it is, whatever the seed; leftovers of an interrupted run are replaced.
    Without a seed the details are drawn from the operating system's randomness, and nobody knows them. Two processes
    that ask for the same directory make one sample.
    """
    return keep(directory, lambda: script.draw(random.Random(secrets.randbits(64) if seed is None else seed)))


def keep(directory: Path, draw: Callable[[], Programme]) -> Sample:
    """Returns the sample in a directory; films what `draw` returns if there is none, or only a part of one."""
    directory.mkdir(parents=True, exist_ok=True)
    with _only_one(directory):
        return _existing(directory) or _make(directory, draw())


def truth(seed: int) -> dict[str, Any]:
    """Returns what was drawn for a seed: the questions with their answers, and when which sign is shown.

    For tests only: whoever makes a sample without a seed has no use for it.
    """
    programme = script.draw(random.Random(seed))
    signs = [
        {
            "chapter": shot.chapter.topic.title,
            "place": shot.place.name,
            "start": shot.start,
            "end": shot.start + shot.seconds,
            "facts": {fact.label: fact.value for fact in shot.place.facts},
        }
        for shot in programme.shots
        if shot.kind == "sign" and shot.chapter is not None and shot.place is not None
    ]
    questions = [
        {"text": question.text, "options": list(question.options), "answer": question.answer}
        for question in programme.questions
    ]
    return {"duration": programme.seconds, "questions": questions, "signs": signs}


def _make(directory: Path, programme: Programme) -> Sample:
    """Makes all three files; the questions come last, so that whoever sees them sees a complete sample."""
    video, subtitles, questions = _paths(directory)
    questions.unlink(missing_ok=True)
    partial = video.with_name(video.name + _PARTIAL)
    try:
        film.record(programme, partial)
        partial.replace(video)
    finally:
        partial.unlink(missing_ok=True)
    _write(subtitles, "\n".join(_srt(script.cues(programme))))
    asked = tuple(SampleQuestion(question.text, question.options) for question in programme.questions)
    _write(questions, json.dumps([asdict(question) for question in asked], indent=2) + "\n")
    return Sample(video, subtitles, asked)


def _existing(directory: Path) -> Sample | None:
    """Returns the sample in a directory, or None if anything of it is missing."""
    video, subtitles, questions = _paths(directory)
    if not (video.is_file() and subtitles.is_file() and questions.is_file()):
        return None
    asked = json.loads(questions.read_text(encoding="utf-8"))
    return Sample(video, subtitles, tuple(SampleQuestion(item["text"], tuple(item["options"])) for item in asked))


def _paths(directory: Path) -> tuple[Path, Path, Path]:
    """Returns where the video, its subtitles and the questions are."""
    return directory / f"{_STEM}.mp4", directory / f"{_STEM}.srt", directory / "questions.json"


def _write(path: Path, text: str) -> None:
    """Writes a file under another name first, so that it is complete when it appears."""
    partial = path.with_name(path.name + _PARTIAL)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _srt(cues: Iterator[Cue]) -> Iterator[str]:
    """Yields the subtitles in SubRip's form."""
    for number, cue in enumerate(cues, start=1):
        yield f"{number}\n{_clock(cue.start)} --> {_clock(cue.end)}\n{cue.text}\n"


def _clock(seconds: float) -> str:
    """Returns a time as `hours:minutes:seconds,milliseconds`."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{thousandths:03d}"


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Holds the directory against other processes that would make the sample too."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
