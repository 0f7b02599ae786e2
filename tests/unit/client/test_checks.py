"""What is told to be wrong before anything starts."""

from __future__ import annotations

import os
import string
from pathlib import Path

import pytest

from client import checks
from longvideo.errors import BadMedia, BadSubtitles, InvalidArgument, LongVideoError, NotFound


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 100_000])
def test_a_question_has_words_but_not_too_many(text: str) -> None:
    """A question of no or of 100,000 characters is refused."""
    with pytest.raises(InvalidArgument, match="question"):
        checks.question(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["A. one"], "Got 1 option"),
        ([f"{letter}. x" for letter in string.ascii_uppercase * 3][:60], "Got 60 options"),
        (["red", "blue"], "'red' must start with its letter: --option 'A. …'"),
        (["A. red", "C. blue"], "'C. blue' must start with its letter: --option 'B. …'"),
        (["A. red", "B."], "'B.' must start"),
    ],
)
def test_options_are_two_to_26_with_their_letters(options: list[str], message: str) -> None:
    """Options are counted, and each has its letter first."""
    with pytest.raises(InvalidArgument) as caught:
        checks.question("Which?", options)
    assert message in caught.value.message


def test_good_options_pass() -> None:
    """Letters may be followed by a dot, a bracket or a colon."""
    assert list(checks.question("Which?", ["A) red", " B: blue", "C. green"]).options) == [
        "A) red",
        " B: blue",
        "C. green",
    ]


def test_text_that_the_terminal_could_not_decode_is_mended() -> None:
    """Lone surrogates, which protobuf refuses, become question marks."""
    assert checks.question("caf\udce9?").text == "caf??"


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: None, NotFound, "There is no file"),
        (lambda path: path.mkdir(), BadMedia, "is a directory"),
        (lambda path: path.touch(), BadMedia, "is empty"),
        (_pipe, BadMedia, "not a regular file"),
        (lambda path: path.symlink_to(path), NotFound, "cannot be read"),
    ],
)
def test_a_video_is_a_file_with_something_in_it(
    tmp_path: Path, make: object, error: type[LongVideoError], message: str
) -> None:
    """Everything that is no regular file with bytes is named for what it is."""
    path = tmp_path / "talk.mp4"
    assert callable(make)
    make(path)
    with pytest.raises(error, match=message):
        checks.video_file(path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    """A name that the system refuses gets a message, too."""
    with pytest.raises(NotFound, match="cannot be read"):
        checks.video_file(Path(name))


@pytest.mark.parametrize(
    "content",
    [
        b"just text",
        b"#EXTM3U\n#EXTINF:10,\nhttp://example.com/a.ts\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    ],
    ids=["text", "playlist", "concat", "image"],
)
def test_what_is_no_video_by_its_first_bytes_is_refused(tmp_path: Path, content: bytes) -> None:
    """A text, a playlist, a concat script and an image are refused whatever they are called."""
    path = tmp_path / "talk.mp4"
    path.write_bytes(content)
    with pytest.raises(BadMedia):
        checks.container(path)


def test_subtitles_are_read_before_they_are_sent(tmp_path: Path) -> None:
    """A file without a cue, and one far too large, are refused; a good one passes."""
    path = tmp_path / "s.srt"
    path.write_text("no cues here")
    with pytest.raises(BadSubtitles):
        checks.subtitle_file(path)
    path.write_bytes(b"x" * 4_000_000)
    with pytest.raises(InvalidArgument, match=r"4 MB"):
        checks.subtitle_file(path)
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    assert checks.subtitle_file(path) == path
