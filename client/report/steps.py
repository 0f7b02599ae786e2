"""The rounds of a question: what the reasoner thought and did, what it was told, and what that took."""

from __future__ import annotations

import base64
import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from client import words
from client.report import timeline
from client.report.gather import Asked, Pictures
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2


@dataclass(frozen=True)
class Picture:
    """A picture with its time, as a data URI."""

    uri: str
    time: str
    width: int
    height: int


PicturesOf = Mapping[tuple[int, ...], Sequence[Picture]]


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
    """One round. `cost` is in words, empty when only seconds are known."""

    number: int
    kind: str
    place: str
    text: str
    thought: str
    observation: str
    corrections: Sequence[str]
    remark: str
    seconds: float | None
    cost: str
    calls: Sequence[CallLine]
    pictures: Sequence[Picture]
    bar: timeline.Bar | None

    @property
    def verb(self) -> str:
        """What the reasoner does."""
        return {"answer": "Answers", "clip": "Looks at"}.get(self.kind, "Reads")

    @property
    def tokens(self) -> int:
        """The tokens of all calls, read and written."""
        return sum(call.prompt + call.completion for call in self.calls)


def by_round(asked: Asked) -> dict[int, list[types_pb2.ModelCall]]:
    """Returns the calls of each round, by when they were sent; what came before the first round is under 0."""
    rounds = asked.episode.rounds
    starts = [words.instant(step.start_time) for step in rounds]
    found: dict[int, list[types_pb2.ModelCall]] = {}
    for call in asked.calls:
        place = bisect.bisect_right(starts, words.instant(call.start_time))
        found.setdefault(rounds[place - 1].number if place else 0, []).append(call)
    return found


def step(done: pb.Round, calls: Sequence[types_pb2.ModelCall], pictures: PicturesOf, length: float, cost: str) -> Step:
    """Returns a round of an episode about a video of `length` seconds."""
    action, segment = done.action, timeline.target(done.action)
    kind = timeline.kind_of(action)
    ended = done.HasField("end_time")
    remarks = {"Asked before: no model was called.": done.repeated, "This caption existed already.": done.cached}
    return Step(
        number=done.number,
        kind=kind,
        place=words.place(segment) if segment is not None else "",
        text=action.video_qa.query if kind == "clip" else action.answer.text,
        thought=done.thought,
        observation=done.observation,
        corrections=list(done.corrections),
        remark=" ".join(remark for remark, so in remarks.items() if so) if ended else "This round is not finished yet.",
        seconds=max(0.0, words.instant(done.end_time) - words.instant(done.start_time)) if ended else None,
        cost=cost,
        calls=[call_line(call) for call in calls],
        pictures=pictures.get(tuple(segment.path), []) if segment is not None else [],
        bar=timeline.bar(segment, length, kind, (done.number,)) if segment is not None else None,
    )


def call_line(call: types_pb2.ModelCall) -> CallLine:
    """Returns a model call as a line of a table."""
    outcome = words.outcome(call.outcome)
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


def pictures_of(shown: Pictures) -> list[Picture]:
    """Returns the pictures of a segment."""
    return [
        Picture(
            f"data:image/jpeg;base64,{base64.b64encode(each.jpeg).decode('ascii')}",
            words.clock(words.seconds(each.offset), fine=True),
            each.width_px,
            each.height_px,
        )
        for each in shown
    ]
