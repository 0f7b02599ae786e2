"""Draws a programme at random: its chapters, what stands on every sign, what the narrator says, what is asked.

Everything is drawn from one `random.Random`, and nothing of it is kept but in the pictures and the subtitles.
"""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from client.sample import topics
from client.sample.topics import Row, Topic

CHAPTERS = 6
PLACES_PER_CHAPTER = 3
ROWS_PER_SIGN = 5

# Whole cycles of the movement in the pictures: every shot ends as it began, and its cycles are alike.
CYCLE_SECONDS = 4
INTRO_CYCLES = 2
CARD_CYCLES = 1
PLACE_CYCLES = 8
OUTRO_CYCLES = 2

# A spoken sentence: about 14 characters a second, never shorter or longer than a reader likes.
CHARACTERS_PER_SECOND = 14.0
CUE_SECONDS = (2.2, 4.8)

ShotKind = Literal["intro", "card", "wide", "sign", "close", "outro"]


@dataclass(frozen=True)
class Fact:
    """What one line of one sign says, and the question that asks for it."""

    label: str
    value: str
    question: str


@dataclass(frozen=True)
class Place:
    """One place of a chapter: its name is the headline, its facts stand on its sign."""

    name: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Chapter:
    """One topic, filmed at some places."""

    number: int
    topic: Topic
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Shot:
    """A stretch of one picture, from `start` (in seconds) for some cycles of movement.

    `look` chooses among the pictures of a topic: all shots of one place share it.
    """

    kind: ShotKind
    start: float
    cycles: int
    lines: tuple[str, ...]
    look: int
    chapter: Chapter | None = None
    place: Place | None = None

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(self.cycles * CYCLE_SECONDS)


@dataclass(frozen=True)
class Cue:
    """A subtitle, from `start` to `end` in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Question:
    """A question about the programme; `options` is empty for an open one. `answer` is a value or an option's letter."""

    text: str
    options: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Programme:
    """A whole programme, ready to be filmed."""

    title: str
    region: str
    chapters: tuple[Chapter, ...]
    shots: tuple[Shot, ...]
    questions: tuple[Question, ...]

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return sum(shot.seconds for shot in self.shots)


_VALUES: dict[str, Callable[[random.Random], str]] = {
    "time": lambda rng: f"{rng.randrange(16, 24)}:{rng.randrange(60):02d}",
    "price": lambda rng: f"{rng.randrange(3, 30)}.{rng.randrange(10)}{rng.choice('05')}",
    "heat": lambda rng: f"{rng.randrange(180, 290)} C",
    "warm": lambda rng: f"{rng.randrange(15, 39)} C",
    "cold": lambda rng: f"{rng.randrange(2, 19)} C",
    "percent": lambda rng: f"{rng.randrange(31, 97)} %",
    "minutes": lambda rng: f"{rng.randrange(18, 75)} min",
    "metres": lambda rng: f"{rng.randrange(12, 96)} m",
    "count": lambda rng: str(rng.randrange(112, 890)),
    "year": lambda rng: str(rng.randrange(1612, 1925)),
    "code": lambda rng: f"{rng.choice('ACEFHKMT')}-{rng.randrange(2000, 9999)}",
    "name": lambda rng: f"{rng.choice(topics.FIRST_NAMES)} {rng.choice(topics.LAST_NAMES)}",
}


def draw(rng: random.Random) -> Programme:
    """Returns a programme drawn from `rng`: the same state gives the same programme."""
    title, region = rng.choice(topics.PROGRAMMES), rng.choice(topics.REGIONS)
    chapters = tuple(
        _chapter(rng, number, topic) for number, topic in enumerate(rng.sample(topics.TOPICS, CHAPTERS), start=1)
    )
    first, second = rng.sample(chapters, 2)
    questions = (_open_question(rng, first), _multiple_choice(rng, second))
    return Programme(title, region, chapters, tuple(_shots(rng, title, region, chapters)), questions)


def cues(programme: Programme) -> Iterator[Cue]:
    """Yields what the narrator says, in order, without overlaps."""
    for shot in programme.shots:
        share = shot.seconds / max(1, len(shot.lines))
        shortest, longest = CUE_SECONDS
        for index, line in enumerate(shot.lines):
            start = shot.start + index * share + 0.4
            spoken = min(max(len(line) / CHARACTERS_PER_SECOND, shortest), longest, share - 0.5)
            yield Cue(start, start + spoken, line)


def _chapter(rng: random.Random, number: int, topic: Topic) -> Chapter:
    """Returns a chapter whose signs share their labels, and no value between two signs."""
    rows = rng.sample(topic.rows, min(ROWS_PER_SIGN, len(topic.rows)))
    used: set[str] = set()
    places = []
    for name in rng.sample(topic.places, PLACES_PER_CHAPTER):
        facts = tuple(
            Fact(row.label, _value(rng, row.kind, used), row.question.format(label=row.label, place=name))
            for row in rows
        )
        places.append(Place(name, facts))
    return Chapter(number, topic, tuple(places))


def _value(rng: random.Random, kind: str, used: set[str]) -> str:
    """Returns a new value and adds it to `used`."""
    value = _VALUES[kind](rng)
    while value in used:
        value = _VALUES[kind](rng)
    used.add(value)
    return value


def _open_question(rng: random.Random, chapter: Chapter) -> Question:
    """Returns a question about any line of any sign of a chapter."""
    fact = rng.choice(rng.choice(chapter.places).facts)
    return Question(fact.question, (), fact.value)


def _multiple_choice(rng: random.Random, chapter: Chapter) -> Question:
    """Returns a question whose wrong options are what the other signs say on the same line, and one that is nowhere."""
    line = rng.randrange(len(chapter.places[0].facts))
    asked = rng.choice(chapter.places).facts[line]
    row: Row = next(row for row in chapter.topic.rows if row.label == asked.label)
    used = {fact.value for place in chapter.places for fact in place.facts}
    values = [*(place.facts[line].value for place in chapter.places), _value(rng, row.kind, used)]
    rng.shuffle(values)
    letters = string.ascii_uppercase
    options = tuple(f"{letter}. {value}" for letter, value in zip(letters, values, strict=False))
    return Question(asked.question, options, letters[values.index(asked.value)])


def _shots(rng: random.Random, title: str, region: str, chapters: tuple[Chapter, ...]) -> Iterator[Shot]:
    """Yields every shot of the programme, one after the other."""
    start = 0.0
    looks: dict[Place | None, int] = {}
    words = {"programme": title, "region": region}
    for kind, cycles, lines, chapter, place in _plan(rng, chapters):
        topic = chapter.topic.title if chapter else ""
        name = place.name if place else ""
        spoken = tuple(line.format(**words, title=topic, place=name) for line in lines)
        fresh = rng.randrange(2**16)
        look = looks.setdefault(place, fresh) if place else fresh
        shot = Shot(kind, start, cycles, spoken, look, chapter, place)
        yield shot
        start += shot.seconds


_Plan = tuple[ShotKind, int, tuple[str, ...], Chapter | None, Place | None]


def _plan(rng: random.Random, chapters: tuple[Chapter, ...]) -> Iterator[_Plan]:
    """Yields kind, cycles, unfilled sentences, chapter and place of every shot."""
    asides = itertools.cycle(rng.sample(topics.ASIDES, len(topics.ASIDES)))
    yield "intro", INTRO_CYCLES, topics.GREETINGS, None, None
    for chapter in chapters:
        topic = chapter.topic
        yield "card", CARD_CYCLES, (rng.choice(topics.CHAPTER_OPENINGS),), chapter, None
        openings = rng.sample(topic.opening, len(chapter.places))
        signs = rng.sample(topic.at_sign, len(chapter.places))
        closings = rng.sample(topic.closing, len(chapter.places))
        for place, opening, at_sign, closing in zip(chapter.places, openings, signs, closings, strict=True):
            wide, sign = rng.choice([(2, 3), (3, 2), (3, 3)])
            close = PLACE_CYCLES - wide - sign
            yield "wide", wide, (opening, *itertools.islice(asides, wide - 2)), chapter, place
            yield "sign", sign, (at_sign,), chapter, place
            yield "close", close, (closing, *itertools.islice(asides, close - 2)), chapter, place
    yield "outro", OUTRO_CYCLES, topics.FAREWELLS, None, None
