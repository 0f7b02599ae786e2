"""The names of things on the wire. Only this module takes them apart or puts them together.

A `*_name` is a full path, for example `jobs/j1/episodes/2`; a `*_id` is one segment of it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import ClassVar, Self

from longvideo.errors import InvalidArgument

_SHA256 = r"[0-9a-f]{64}"
_ID = r"[a-z0-9-]{1,63}"


@dataclass(frozen=True)
class _Name:
    """A resource name. `pattern` has one named group per field."""

    pattern: ClassVar[re.Pattern[str]]
    example: ClassVar[str]

    @classmethod
    def parse(cls, name: str, field: str = "name") -> Self:
        """Takes a name apart. Raises InvalidArgument, naming `field`, for anything else."""
        match = cls.pattern.fullmatch(name)
        if match is None:
            shown = name if len(name) <= 100 else name[:100] + "…"
            raise InvalidArgument(f"{field} is {shown!r}; it must look like {cls.example}", field=field)
        return cls(**match.groupdict())


@dataclass(frozen=True)
class VideoName(_Name):
    """`videos/{sha256}`."""

    video_id: str
    pattern = re.compile(rf"videos/(?P<video_id>{_SHA256})")
    example = "videos/{sha256}, with 64 lowercase hexadecimal digits"

    def __str__(self) -> str:
        return f"videos/{self.video_id}"


@dataclass(frozen=True)
class SubtitlesName(_Name):
    """`videos/{sha256}/subtitles/{id}`."""

    video_id: str
    subtitles_id: str
    pattern = re.compile(rf"videos/(?P<video_id>{_SHA256})/subtitles/(?P<subtitles_id>{_ID})")
    example = "videos/{sha256}/subtitles/{id}"

    def __str__(self) -> str:
        return f"videos/{self.video_id}/subtitles/{self.subtitles_id}"


@dataclass(frozen=True)
class JobName(_Name):
    """`jobs/{job}`. The id is random, so that nobody can guess another's."""

    job_id: str
    pattern = re.compile(rf"jobs/(?P<job_id>{_ID})")
    example = "jobs/{job}"

    def __str__(self) -> str:
        return f"jobs/{self.job_id}"

    @classmethod
    def new(cls) -> JobName:
        """Makes a name that nobody has."""
        return cls(secrets.token_hex(10))


@dataclass(frozen=True)
class EpisodeName(_Name):
    """`jobs/{job}/episodes/{episode}`; the episode's id is its question's number, from 1."""

    job_id: str
    episode_id: str
    pattern = re.compile(rf"jobs/(?P<job_id>{_ID})/episodes/(?P<episode_id>[1-9][0-9]{{0,3}})")
    example = "jobs/{job}/episodes/{number}"

    def __str__(self) -> str:
        return f"jobs/{self.job_id}/episodes/{self.episode_id}"

    @property
    def job(self) -> JobName:
        """The job the episode belongs to."""
        return JobName(self.job_id)
