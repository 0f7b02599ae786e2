"""The timed material of a request: frames with their times, subtitles, and the words around them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from offline_models.messages import Picture, Refused, Turn
from offline_models.reading import clean

_TIME = re.compile(r"\[\s*(\d+(?:\.\d+)?)\s*s?\s*\]\s*$")
_CUE = re.compile(
    r"\s*Subtitles?\s*\[\s*(\d+(?:\.\d+)?)\s*s?\s*[-–—]\s*(\d+(?:\.\d+)?)\s*s?\s*\]\s*:?\s*(.*)",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class Shot:
    """A frame and its time in seconds."""

    time: float
    picture: Picture


@dataclass(frozen=True)
class Cue:
    """What is said from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Clip:
    """All that a request shows and tells. `words` are the texts that are neither times nor subtitles."""

    shots: tuple[Shot, ...]
    cues: tuple[Cue, ...]
    words: tuple[str, ...]

    @property
    def end(self) -> float:
        """When the last frame or subtitle ends, in seconds."""
        return max([0.0, *(shot.time for shot in self.shots), *(cue.end for cue in self.cues)])


def read_clip(turns: Iterable[Turn]) -> Clip:
    """Takes the user's turns apart. A frame without a time gets the one before it. Raises Refused when empty."""
    shots: list[Shot] = []
    cues: list[Cue] = []
    words: list[str] = []
    time = 0.0
    for part in (part for turn in turns if turn.role == "user" for part in turn.parts):
        if isinstance(part, Picture):
            shots.append(Shot(time, part))
        elif cue := _CUE.match(part):
            cues.append(Cue(float(cue[1]), float(cue[2]), clean(cue[3])))
        elif stamp := _TIME.search(part):
            time = float(stamp[1])
        elif part.strip():
            words.append(part.strip())
    if not shots and not cues and not words:
        raise Refused(400, "The messages hold neither frames nor subtitles nor a question.", "messages")
    return Clip(tuple(shots), tuple(cues), tuple(words))


def span(start: float, end: float) -> str:
    """Returns `at 12.0 s` or `from 12.0 s to 48.0 s`."""
    return f"at {start:.1f} s" if f"{start:.1f}" == f"{end:.1f}" else f"from {start:.1f} s to {end:.1f} s"
