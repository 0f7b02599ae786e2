"""Questions whose right answer can be had only by carrying out every round of a plan, and by forgetting none."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from longvideo.segments import Segment, Tree
from tests.media import make_video

WIDTH = 4
MAX_STEPS = 4


@dataclass(frozen=True)
class Film:
    """A video, and what it takes to know when a segment of it starts."""

    path: Path
    frames: int
    rate: int

    def start(self, segment: Segment) -> float:
        """Returns when a segment starts, in seconds."""
        return Tree(self.frames, WIDTH).span(segment).start / self.rate


def make_films(directory: Path, count: int) -> list[Film]:
    """Encodes videos of which no two have the same times."""
    films = []
    for number in range(count):
        seconds, rate = 7 + number, 11 + number
        path = make_video(directory / f"film {number}.mp4", seconds=seconds, fps=rate)
        films.append(Film(path, seconds * rate, rate))
    return films


@dataclass(frozen=True)
class Step:
    """What the reasoner does in one round: reads a caption, or asks about a clip."""

    segment: Segment
    asks: bool


@dataclass(frozen=True)
class Question:
    """A question, by its id, which stands in its text; its plan follows from the id and the seed."""

    id: str
    film: Film
    steps: tuple[Step, ...]

    @property
    def text(self) -> str:
        """What a person asks."""
        return f"What are the codes? [{self.id}]"

    @property
    def answer(self) -> str:
        """The right answer: the codes that the rounds bring to light, in their order."""
        return " ".join(
            clip_code(self.id, number) if step.asks else caption_code(step.segment.path, self.film.start(step.segment))
            for number, step in enumerate(self.steps, start=1)
        )


def caption_code(path: tuple[int, ...], start: float) -> str:
    """Returns the code that the caption of a segment tells. It names its time, so that another video's is another."""
    return f"code-c{'x'.join(map(str, path))}at{start:.1f}"


def clip_code(question: str, number: int) -> str:
    """Returns the code that the clip of a question's round shows."""
    return f"code-{question}r{number}"


def make_question(number: int, film: Film, choose: random.Random) -> Question:
    """Makes a question with one to four rounds before the answer, all different."""
    steps: dict[Segment, Step] = {}
    for _ in range(choose.randint(1, MAX_STEPS)):
        asks = choose.random() < 0.5
        length = 3 if asks else choose.choice([2, 3])
        segment = Segment(tuple(choose.randint(1, WIDTH) for _ in range(length)))
        steps.setdefault(segment, Step(segment, asks))
    return Question(f"q{number}", film, tuple(steps.values()))
