"""What an episode is given: its question and bounds, its services, its journal; and how it can end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from longvideo.inference import ModelClient
from longvideo.prompts import PromptPack
from longvideo.usage import Call
from longvideo.v1 import types_pb2
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from longvideo.v1.video_qa_pb2_grpc import VideoQAServiceStub
from orchestrator.tools import Captioned, Place
from orchestrator.transcript import Message, Question, Round


@dataclass(frozen=True)
class EpisodeSpec:
    """Everything an episode depends on. `deadline` is in seconds since the epoch, `duration` in seconds."""

    name: str
    question: Question
    place: Place
    duration: float
    frame_count: int
    max_rounds: int
    deadline: float


@dataclass(frozen=True)
class Services:
    """What an episode is carried out with."""

    reasoner: ModelClient
    captions: CaptionServiceStub
    video_qa: VideoQAServiceStub
    pack: PromptPack


class Journal(Protocol):
    """Where an episode's progress is kept. Each method is one transaction."""

    def rounds(self) -> list[Round]:
        """Returns the finished rounds, and after them perhaps one that was decided but not finished."""

    def check(self) -> None:
        """Raises Cancelled when nobody wants the episode any more, or when another worker has it. Cheap."""

    def check_between_rounds(self) -> None:
        """Raises what `check` raises, and Cancelled also when another worker is to go on from here."""

    def check_budget(self) -> bool:
        """Tells whether the job's budget has room for another round and an answer.

        Raises BudgetExhausted when nothing of it is left. Cheap.
        """

    def noticed(self, step: Round) -> None:
        """Records the notice of a finished round, which the reasoner is told before the next."""

    def opening(self) -> list[Message]:
        """Returns the conversation before the first reply, or nothing when it was never complete."""

    def began(self, opening: list[Message]) -> None:
        """Records the conversation before the first reply."""

    def opened(self, caption: Captioned, done: int, total: int) -> None:
        """Records a high-level caption: the `done`-th of `total`."""

    def corrected(self, number: int, problem: str, calls: Sequence[Call]) -> None:
        """Records a reply of round `number` that could not be used."""

    def decided(self, step: Round, calls: Sequence[Call]) -> None:
        """Records what the reasoner decided."""

    def finished(self, step: Round, calls: Sequence[Call]) -> None:
        """Records what the action gave."""

    def failed_calls(self, number: int, calls: Sequence[Call]) -> None:
        """Records calls that were made for something that then failed."""

    def strays(self, strays: Sequence[types_pb2.StrayCall]) -> None:
        """Records calls that were made for others who had gone."""


Kind = Literal[
    "answered", "rounds_exhausted", "time_exhausted", "invalid_output", "context_exhausted", "budget_exhausted"
]


class Ending(Exception):
    """How an episode ended, when nothing went wrong. `message` says why there is no answer, to a person."""

    kind: Kind

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.answer = ""
        self.choice = ""


class Answered(Ending):
    """The reasoner answered; for multiple choice, `choice` is the letter, or empty when it names no option."""

    kind = "answered"

    def __init__(self, answer: str, choice: str) -> None:
        super().__init__()
        self.answer, self.choice = answer, choice


class RoundsExhausted(Ending):
    """The last allowed round passed without an answer."""

    kind = "rounds_exhausted"


class TimeExhausted(Ending):
    """The time allowed passed without an answer."""

    kind = "time_exhausted"


class InvalidOutput(Ending):
    """Too many replies in a row could not be used."""

    kind = "invalid_output"


class ContextExhausted(Ending):
    """The conversation reached the reasoner's context length."""

    kind = "context_exhausted"


class BudgetExhausted(Ending):
    """Nothing was left of the job's budget."""

    kind = "budget_exhausted"
