"""What can be told to be wrong before anything is read, started or sent."""

from __future__ import annotations

import os
import re
import stat
import string
from collections.abc import Sequence
from pathlib import Path

from client import words
from longvideo.errors import BadMedia, InvalidArgument, NotFound
from longvideo.v1 import orchestrator_pb2 as pb

# The orchestrator's own limits, told here before a large file has been read.
MAX_QUESTION_CHARS = 10_000
MIN_OPTIONS = 2
MAX_OPTIONS = 26


def question(text: str, options: Sequence[str] = (), truth: str = "") -> pb.Question:
    """Returns a question as it is sent. Raises InvalidArgument when it or its options break their limits."""
    if not text.strip():
        raise InvalidArgument("The question is empty; write what you want to know.", field="question")
    if len(text) > MAX_QUESTION_CHARS:
        raise InvalidArgument(
            f"The question has {len(text):,} characters; at most {MAX_QUESTION_CHARS:,} are allowed.", field="question"
        )
    if options:
        _check_options(options)
    _check_truth(truth, len(options))
    # What the terminal could not decode arrives as lone surrogates, which are not text.
    return pb.Question(text=_text(text), options=map(_text, options), truth=_text(truth))


def _check_options(options: Sequence[str]) -> None:
    count = len(options)
    if not MIN_OPTIONS <= count <= MAX_OPTIONS:
        raise InvalidArgument(
            f"Got {words.plural(count, 'option')}; a multiple choice needs from {MIN_OPTIONS} to {MAX_OPTIONS}. "
            'Repeat --option for each: --option "A. …" --option "B. …".',
            field="options",
        )
    for letter, option in zip(string.ascii_uppercase, options, strict=False):
        if not re.match(rf"\s*(?:\({letter}\)|{letter}\s*[.):])\s*\S", option):
            raise InvalidArgument(
                f"The option {words.one_line(option, 60)!r} must start with its letter: "
                f"--option {f'{letter}. …'!r}. The letters go from A on, in order.",
                field="options",
            )


def _check_truth(truth: str, options: int) -> None:
    letters = string.ascii_uppercase[:options]
    if letters and truth.strip() and truth.strip().upper() not in list(letters):
        raise InvalidArgument(
            f"The truth {words.one_line(truth, 60)!r} must be the letter of the right option: {letters[0]} to "
            f"{letters[-1]}.",
            field="truth",
        )
    if len(truth) > MAX_QUESTION_CHARS:
        raise InvalidArgument(
            f"The truth has {len(truth):,} characters; at most {MAX_QUESTION_CHARS:,} are allowed.", field="truth"
        )


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()


def video_file(path: Path) -> Path:
    """Returns the path of a file that may be a video. Raises NotFound or BadMedia, naming what it is instead."""
    status = _status(path, "a video file")
    if status.st_size == 0:
        raise BadMedia(f"{path} is empty: it has 0 bytes.", reason="MEDIA_EMPTY")
    return path


def subtitle_file(path: Path) -> Path:
    """Returns the path of a file that is subtitles. Raises NotFound or BadSubtitles."""
    from longvideo import subtitles  # noqa: PLC0415  # numpy and the video reader: not needed to say what is missing

    status = _status(path, "an .srt or .vtt file")
    if status.st_size <= subtitles.MAX_BYTES:
        subtitles.parse(path.read_bytes(), path.name)
        return path
    raise InvalidArgument(
        f"{path} has {words.size(status.st_size)}; subtitles may have at most {words.size(subtitles.MAX_BYTES)}.",
        field="subtitles",
    )


def _status(path: Path, wanted: str) -> os.stat_result:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.", reason="FILE_NOT_FOUND") from None
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise NotFound(f"{path} cannot be read: {said}.", reason="FILE_UNREADABLE") from None
    if stat.S_ISDIR(status.st_mode):
        raise BadMedia(f"{path} is a directory; give {wanted}.", reason="MEDIA_IS_DIRECTORY")
    if not stat.S_ISREG(status.st_mode):
        raise BadMedia(f"{path} is not a regular file; give {wanted}.", reason="MEDIA_NOT_A_FILE")
    return status


def container(path: Path) -> None:
    """Raises BadMedia for a file that by its first bytes is no video, before all of it is read for its digest."""
    from longvideo.video import FileSource, containers  # noqa: PLC0415  # the decoder: not needed for a missing file
    from longvideo.video.source import SourceReader  # noqa: PLC0415

    with FileSource(path) as source:
        containers.identify(SourceReader(source))
