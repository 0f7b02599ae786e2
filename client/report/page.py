"""What the page says about a job: texts, numbers and places, before any of it is HTML."""

from __future__ import annotations

import base64
import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from client import render, words
from client.report.gather import Asked, Gathered, Pictures
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

_TONES = {
    pb.Episode.STATE_ANSWERED: "good",
    pb.Episode.STATE_UNANSWERED: "warn",
    pb.Episode.STATE_CANCELLED: "warn",
    pb.Episode.STATE_FAILED: "bad",
}
_OUTCOMES = types_pb2.ModelCall.Outcome


@dataclass(frozen=True)
class Picture:
    """A picture with its time, as a data URI."""

    uri: str
    time: str
    width: int
    height: int


@dataclass(frozen=True)
class Bar:
    """A segment on the timeline: where it starts and how long it is in percent of the video, and how it was opened.

    `kind` is `high`, `medium` and `low` for captions, and `clip` for a look of the qa model.
    """

    left: float
    width: float
    kind: str
    label: str
    number: int = 0


@dataclass(frozen=True)
class CallLine:
    """One model call."""

    role: str
    model: str
    pool: str
    seconds: float
    prompt: int
    cached: int
    completion: int
    problem: str


@dataclass(frozen=True)
class Step:
    """One round: what the reasoner thought and did, what it was told, and what that took."""

    number: int
    kind: str
    verb: str
    place: str
    text: str
    thought: str
    observation: str
    corrections: Sequence[str]
    remark: str
    seconds: float | None
    calls: Sequence[CallLine]
    pictures: Sequence[Picture]

    @property
    def tokens(self) -> int:
        """The tokens of all calls, read and written."""
        return sum(call.prompt + call.completion for call in self.calls)


@dataclass(frozen=True)
class Evidence:
    """A segment that was opened."""

    place: str
    level: str
    how: str
    round: int


@dataclass(frozen=True)
class Question:
    """One question, and everything about how it was answered."""

    number: int
    text: str
    options: Sequence[tuple[str, bool]]
    state: str
    tone: str
    answer: str
    why: str
    running: bool
    rounds: int
    seconds: float | None
    call_count: int
    prompt: int
    completion: int
    opened: float
    low: float
    inspected: float
    evidence: Sequence[Evidence]
    bars: Sequence[Bar]
    opening: str
    opening_calls: Sequence[CallLine]
    steps: Sequence[Step]


def questions(found: Gathered) -> list[Question]:
    """Returns every question that was gathered."""
    pictures = {path: _pictures(shown) for path, shown in found.pictures.items()}
    length = duration(found)
    return [_question(asked, pictures, length) for asked in found.asked]


def duration(found: Gathered) -> float:
    """Returns how long the video is in seconds, or how far it was opened when nobody has it any more."""
    if found.video is not None and found.video.HasField("duration"):
        return words.seconds(found.video.duration)
    ends = [words.seconds(item.segment.end_offset) for asked in found.asked for item in asked.episode.evidence]
    return max(ends, default=0.0)


def bar(segment: types_pb2.Segment, length: float, kind: str, label: str, number: int = 0) -> Bar:
    """Returns where a segment lies in a video of `length` seconds."""
    start, end = words.seconds(segment.start_offset), words.seconds(segment.end_offset)
    scale = 100 / length if length else 0.0
    left = min(100.0, max(0.0, start * scale))
    return Bar(left, max(0.0, min(100.0 - left, (end - start) * scale)), kind, label, number)


def _question(asked: Asked, pictures: dict[tuple[int, ...], list[Picture]], length: float) -> Question:
    episode, calls = asked.episode, _by_round(asked)
    answered = episode.state == pb.Episode.STATE_ANSWERED
    running = not episode.ending
    return Question(
        number=asked.number,
        text=episode.question.text,
        options=[(option, _is_chosen(option, episode.choice)) for option in episode.question.options],
        state=words.episode_state(episode.state),
        tone=_TONES.get(episode.state, "busy"),
        answer=episode.answer if answered else "",
        why="" if answered or running else render.why(episode),
        running=running,
        rounds=episode.round_count,
        seconds=_lasted(episode),
        call_count=len(asked.calls),
        prompt=sum(call.prompt_token_count for call in asked.calls),
        completion=sum(call.completion_token_count for call in asked.calls),
        opened=episode.coverage.opened_fraction,
        low=episode.coverage.low_fraction,
        inspected=episode.coverage.inspected_fraction,
        evidence=[_evidence(item) for item in episode.evidence],
        bars=[made for step in episode.rounds if (made := _bar(step, length))],
        opening=next((turn.text for turn in episode.transcript if turn.role == "user"), ""),
        opening_calls=[_call(call) for call in calls.get(0, [])],
        steps=[_step(step, calls.get(step.number, []), pictures) for step in episode.rounds],
    )


def _is_chosen(option: str, choice: str) -> bool:
    return bool(choice) and option.lstrip("( ").startswith(choice)


def _lasted(episode: pb.Episode) -> float | None:
    if not episode.HasField("start_time") or not episode.HasField("end_time"):
        return None
    return max(0.0, words.instant(episode.end_time) - words.instant(episode.start_time))


def _by_round(asked: Asked) -> dict[int, list[types_pb2.ModelCall]]:
    """Returns the calls of each round, by when they were sent; what came before the first round is under 0."""
    rounds = asked.episode.rounds
    starts = [words.instant(step.start_time) for step in rounds]
    found: dict[int, list[types_pb2.ModelCall]] = {}
    for call in asked.calls:
        place = bisect.bisect_right(starts, words.instant(call.start_time))
        found.setdefault(rounds[place - 1].number if place else 0, []).append(call)
    return found


def _evidence(item: pb.Evidence) -> Evidence:
    how = [word for word, so in (("caption", item.captioned), ("clip", item.inspected)) if so]
    return Evidence(words.place(item.segment), words.level(item.segment), " and ".join(how), item.round)


def _target(action: pb.Action) -> types_pb2.Segment | None:
    kind = action.WhichOneof("action")
    if kind == "get_caption":
        return action.get_caption.segment
    return action.video_qa.segment if kind == "video_qa" else None


def _kind(action: pb.Action) -> str:
    if action.WhichOneof("action") == "get_caption":
        return words.level(action.get_caption.segment)
    return "clip" if action.WhichOneof("action") == "video_qa" else "answer"


def _bar(step: pb.Round, length: float) -> Bar | None:
    segment = _target(step.action)
    return bar(segment, length, _kind(step.action), words.place(segment), step.number) if segment is not None else None


def _step(step: pb.Round, calls: Sequence[types_pb2.ModelCall], pictures: dict[tuple[int, ...], list[Picture]]) -> Step:
    action, segment = step.action, _target(step.action)
    kind = _kind(action)
    ended = step.HasField("end_time")
    remarks = {"asked before: no model was called": step.repeated, "this caption existed already": step.cached}
    return Step(
        number=step.number,
        kind=kind,
        verb={"answer": "Answers", "clip": "Looks at"}.get(kind, "Opens"),
        place=words.place(segment) if segment is not None else "",
        text=action.video_qa.query if kind == "clip" else action.answer.text,
        thought=step.thought,
        observation=step.observation,
        corrections=list(step.corrections),
        remark="; ".join(remark for remark, so in remarks.items() if so) if ended else "not finished yet",
        seconds=max(0.0, words.instant(step.end_time) - words.instant(step.start_time)) if ended else None,
        calls=[_call(call) for call in calls],
        pictures=pictures.get(tuple(segment.path), []) if segment is not None else [],
    )


def _call(call: types_pb2.ModelCall) -> CallLine:
    outcome = _OUTCOMES.Name(call.outcome).removeprefix("OUTCOME_").lower()
    good = call.outcome == types_pb2.ModelCall.OUTCOME_OK
    return CallLine(
        words.role(call.role),
        call.model,
        call.pool,
        words.seconds(call.duration),
        call.prompt_token_count,
        call.cached_token_count,
        call.completion_token_count,
        "" if good else f"{outcome}: {call.detail}" if call.detail else outcome,
    )


def _pictures(shown: Pictures) -> list[Picture]:
    return [
        Picture(
            f"data:image/jpeg;base64,{base64.b64encode(each.jpeg).decode('ascii')}",
            words.clock(words.seconds(each.offset), fine=True),
            each.width_px,
            each.height_px,
        )
        for each in shown
    ]
