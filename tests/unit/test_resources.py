"""The names of things on the wire."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvideo.errors import InvalidArgument
from longvideo.resources import EpisodeName, JobName, SubtitlesName, VideoName

NAMES = [
    VideoName("a" * 64),
    SubtitlesName("0" * 64, "s-1"),
    JobName("j1"),
    EpisodeName("j1", "12"),
]


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_names_survive_the_wire(name: VideoName | SubtitlesName | JobName | EpisodeName) -> None:
    """A name that is put together and taken apart is the same name."""
    assert type(name).parse(str(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "", "videos/", "videos/xyz", "videos/" + "A" * 64, "videos/" + "a" * 63, "videos/" + "a" * 64 + "/",
        "videos/" + "a" * 64 + "\n", "jobs/j1", "/videos/" + "a" * 64, "videos/../" + "a" * 61,
    ],
)  # fmt: skip
def test_other_video_names_are_refused(name: str) -> None:
    """Anything but 64 lowercase hexadecimal digits is refused, naming the field and the form."""
    with pytest.raises(InvalidArgument, match=r"video is .* must look like videos/"):
        VideoName.parse(name, "video")


@given(st.text())
def test_parsing_never_raises_anything_else(name: str) -> None:
    """Whatever the text, taking it apart gives a name or InvalidArgument."""
    for cls in (VideoName, SubtitlesName, JobName, EpisodeName):
        with contextlib.suppress(InvalidArgument):
            assert str(cls.parse(name)) == name


def test_job_names_are_not_guessable() -> None:
    """New job names carry 80 random bits."""
    names = {JobName.new().job_id for _ in range(100)}

    assert len(names) == 100
    assert all(len(name) == 20 for name in names)


def test_an_episode_knows_its_job() -> None:
    """The job of jobs/j1/episodes/2 is jobs/j1."""
    assert str(EpisodeName.parse("jobs/j1/episodes/2").job) == "jobs/j1"
