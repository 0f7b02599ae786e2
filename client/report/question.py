"""What the page says about a question: texts, numbers and places, before any of it is HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from client import render, words
from client.report import steps, timeline
from client.report.gather import Asked, Gathered
from client.report.spending import Unit
from longvideo.v1 import orchestrator_pb2 as pb

_TONES: Final = {
    pb.Episode.STATE_ANSWERED: "good",
    pb.Episode.STATE_UNANSWERED: "warn",
    pb.Episode.STATE_CANCELLED: "warn",
    pb.Episode.STATE_FAILED: "bad",
}
_PATH: Final = re.compile(r"\((\d),\s?(\d)(?:,\s?(\d))?\)")


@dataclass(frozen=True)
class Option:
    """An option of a multiple choice: whether it was chosen, and whether it is known to be right."""

    text: str
    chosen: bool
    right: bool


@dataclass(frozen=True)
class Evidence:
    """A segment that was opened: where it lies, how it was opened, in which round first, and a picture of it."""

    place: str
    level: str
    how: str
    round: int
    pictures: Sequence[steps.Picture]


@dataclass(frozen=True)
class Question:
    """One question, and everything about how it was answered.

    `verdict` is what an answer is, `right` or `wrong`, and empty where nobody can tell; `judged` also tells of
    questions that have no answer. `because` is what the reasoner thought when it answered, `key` the segment that it
    then spoke of, or opened last. `rounds_of` leads from a segment, as it writes it, to the round that opened it first.
    """

    number: int
    text: str
    options: Sequence[Option]
    state: str
    tone: str
    verdict: str
    judged: bool
    truth: str
    answer: str
    because: str
    key: Evidence | None
    why: str
    running: bool
    rounds: int
    seconds: float | None
    spent: float | None
    call_count: int
    model_seconds: float
    prompt: int
    completion: int
    opened: float
    inspected: float
    evidence: Sequence[Evidence]
    lanes: Sequence[timeline.Lane]
    rounds_of: dict[str, int]
    opening: str
    opening_calls: Sequence[steps.CallLine]
    steps: Sequence[steps.Step]


def questions(found: Gathered, unit: Unit) -> list[Question]:
    """Returns every question that was gathered."""
    pictures = {path: steps.pictures_of(shown) for path, shown in found.pictures.items()}
    length = duration(found)
    return [_question(asked, found, pictures, length, unit) for asked in found.asked]


def duration(found: Gathered) -> float:
    """Returns how long the video is in seconds, or how far it was opened when nobody has it any more."""
    if found.video is not None and found.video.HasField("duration"):
        return words.seconds(found.video.duration)
    ends = [words.seconds(item.segment.end_offset) for asked in found.asked for item in asked.episode.evidence]
    return max(ends, default=0.0)


def _question(asked: Asked, found: Gathered, pictures: steps.PicturesOf, length: float, unit: Unit) -> Question:
    episode, calls = asked.episode, steps.by_round(asked)
    answered = episode.state == pb.Episode.STATE_ANSWERED
    verdict = ("right" if episode.correct else "wrong") if answered and episode.HasField("correct") else ""
    running = not episode.ending
    options = [_option(option, episode) for option in episode.question.options]
    evidence = [_evidence(item, pictures) for item in episode.evidence]
    because = episode.rounds[-1].thought if answered and episode.rounds else ""
    model_seconds = sum(words.seconds(call.duration) for call in asked.calls)
    row = found.costs.by_question.get(episode.name)

    def cost(number: int) -> str:
        row = found.costs.by_round.get((episode.name, number))
        return unit.write(unit.value(row)) if row is not None and unit.kind != "time" else ""

    return Question(
        number=asked.number,
        text=episode.question.text,
        options=options,
        state=words.episode_state(episode.state),
        tone="bad" if verdict == "wrong" else _TONES.get(episode.state, "busy"),
        verdict=verdict,
        judged=episode.HasField("correct"),
        truth=next((option.text for option in options if option.right), episode.question.truth),
        answer=render.answer(episode) if answered else "",
        because=because,
        key=_key(because, episode, evidence) if answered else None,
        why="" if answered or running else render.why(episode),
        running=running,
        rounds=episode.round_count,
        seconds=_lasted(episode),
        spent=(unit.value(row) if row is not None else None) if unit.kind != "time" else model_seconds,
        call_count=len(asked.calls),
        model_seconds=model_seconds,
        prompt=sum(call.prompt_token_count for call in asked.calls),
        completion=sum(call.completion_token_count for call in asked.calls),
        opened=episode.coverage.opened_fraction,
        inspected=episode.coverage.inspected_fraction,
        evidence=evidence,
        lanes=timeline.lanes(episode.rounds, length),
        rounds_of={words.path(item.segment): item.round for item in episode.evidence},
        opening=next((turn.text for turn in episode.transcript if turn.role == "user"), ""),
        opening_calls=[steps.call_line(call) for call in calls.get(0, [])],
        steps=[
            steps.step(done, calls.get(done.number, []), pictures, length, cost(done.number)) for done in episode.rounds
        ],
    )


def paths(text: str) -> list[tuple[int, int, str]]:
    """Returns the segments that a text speaks of: where each starts and ends in it, and its path as `(2,4,1)`."""
    return [
        (match.start(), match.end(), f"({','.join(part for part in match.groups() if part)})")
        for match in _PATH.finditer(text)
    ]


def _option(text: str, episode: pb.Episode) -> Option:
    start, truth = text.lstrip("( "), episode.question.truth.strip()
    return Option(
        text,
        bool(episode.choice) and start.startswith(episode.choice),
        len(truth) == 1 and start[:1].upper() == truth.upper(),
    )


def _lasted(episode: pb.Episode) -> float | None:
    if not episode.HasField("start_time") or not episode.HasField("end_time"):
        return None
    return max(0.0, words.instant(episode.end_time) - words.instant(episode.start_time))


def _evidence(item: pb.Evidence, pictures: steps.PicturesOf) -> Evidence:
    how = [word for word, so in (("caption", item.captioned), ("clip", item.inspected)) if so]
    shown = pictures.get(tuple(item.segment.path), [])
    return Evidence(words.place(item.segment), words.level(item.segment), " and ".join(how), item.round, shown)


def _key(because: str, episode: pb.Episode, evidence: Sequence[Evidence]) -> Evidence | None:
    """Returns the segment that the reasoner speaks of first when it answers, else the one that it opened last."""
    known = {words.path(item.segment): shown for item, shown in zip(episode.evidence, evidence, strict=True)}
    spoken = [known[path] for _, _, path in paths(because) if path in known]
    if spoken:
        return spoken[0]
    last = [timeline.target(step.action) for step in episode.rounds]
    opened = [known[words.path(segment)] for segment in last if segment is not None and words.path(segment) in known]
    return opened[-1] if opened else None
