"""An episode as data: its question, its rounds, and the messages that the reasoner sees.

The messages are a pure function of the episode, so a worker that takes up another's work sees the very same ones. They
only ever grow at the end: that is what lets vLLM's prefix cache serve every earlier turn.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from longvideo.prompts import PromptPack
from longvideo.segments import Segment
from orchestrator.protocol import Action, Reply

Message = dict[str, str]


@dataclass(frozen=True)
class Question:
    """What a person wants to know; with options for multiple choice, each with its letter first."""

    text: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionText:
    """A caption as the reasoner reads it. Times in seconds since the first frame."""

    segment: Segment
    start: float
    end: float
    text: str

    def line(self) -> str:
        """Returns `(2,4) [187.5s - 225.0s]: …`."""
        return f"{self.segment} [{self.start:.1f}s - {self.end:.1f}s]: {self.text}"


@dataclass
class Round:
    """One step: the reasoner decided (`thought`, `action`) and, once `end_time` is set, was told the result.

    `notice` is what it was told besides: that the next round is the last, or that it must conclude. `corrections` is
    what was wrong with its earlier attempts in this round; later rounds do not see them. Times in seconds since the
    epoch.
    """

    number: int
    thought: str
    action: Action
    observation: str = ""
    notice: str = ""
    repeated: bool = False
    cached: bool = False
    corrections: list[str] = field(default_factory=list)
    start_time: float = field(default_factory=time.time)
    end_time: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the action has given its result."""
        return self.end_time is not None


def opening(
    pack: PromptPack,
    question: Question,
    captions: Sequence[CaptionText],
    *,
    duration: float,
    width: int,
    max_rounds: int,
) -> list[Message]:
    """Returns the system message and the first user turn. `duration` is in seconds."""
    lines = [f"Question: {question.text}"]
    if question.options:
        lines += ["Options:", *question.options]
    lines += [f"Duration: {duration:.1f} seconds", f"Ids at every level go from 1 to {width}.", "High-level captions:"]
    lines += [caption.line() for caption in captions]
    lines.append(pack.render("first_turn_end", width=width, max_rounds=max_rounds))
    if max_rounds == 1:
        lines.append(pack.render("last_round"))
    return [
        {"role": "system", "content": pack.render("reason_system", width=width, options=bool(question.options))},
        {"role": "user", "content": "\n".join(lines)},
    ]


def caption_observation(caption: CaptionText) -> str:
    """Returns how a caption is told: its level, its ids, its time span and its words."""
    return f"{caption.segment.level_name.capitalize()}-level caption of {caption.line()}"


def clip_observation(segment: Segment, start: float, end: float, answer: str) -> str:
    """Returns how a clip answer is told. Times in seconds."""
    return f"<information>{segment} [{start:.1f}s - {end:.1f}s]: {answer}</information>"


def messages(first: list[Message], rounds: Sequence[Round]) -> list[Message]:
    """Returns the whole conversation up to now: the opening, then each round as a reply and an observation."""
    turns = list(first)
    for step in rounds:
        turns.append({"role": "assistant", "content": Reply(step.thought, step.action).text})
        if step.observation:
            turns.append({"role": "user", "content": "\n".join(filter(None, (step.observation, step.notice)))})
    return turns
