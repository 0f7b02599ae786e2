"""Answers one question about one clip, by showing sixteen of its frames to the qa model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from longvideo.clips import Clip, Library, Room, content, text_part, view
from longvideo.errors import InvalidArgument
from longvideo.inference import Completion, ModelClient
from longvideo.prompts import PromptPack
from longvideo.replies import ask_for_words, tagged, without_tags, without_thinking
from longvideo.resources import VideoName
from longvideo.segments import LEVELS
from longvideo.usage import Call

# What the method shows the qa model (arXiv 2602.20913).
FRAME_COUNT: Final = 16
LONGEST_SIDE: Final = 1024

MAX_QUERY_CHARS: Final = 4_000
MAX_ANSWER_CHARS: Final = 4_000
_MAX_TOKENS: Final = 1_024


@dataclass(frozen=True)
class QuestionRequest:
    """What is asked about which clip. The fields are those of `longvideo.v1.AnswerQuestionRequest`."""

    video: VideoName
    path: tuple[int, ...]
    width: int
    query: str
    subtitles: str = ""
    pool: str = ""
    priority: int = 0


@dataclass(frozen=True)
class ClipAnswer:
    """What the qa model said, about which clip, from how many frames, and the calls that it took."""

    answer: str
    reasoning: str
    clip: Clip
    frame_count: int
    calls: tuple[Call, ...]


class Answerer:
    """Asks the qa model. Keeps nothing; threads share it."""

    def __init__(self, library: Library, client: ModelClient, pack: PromptPack) -> None:
        self._library = library
        self._client = client
        self._pack = pack

    def answer(
        self, request: QuestionRequest, deadline: float, cancelled: Callable[[], bool] = lambda: False
    ) -> ClipAnswer:
        """Returns the qa model's answer. `deadline` is on `time.monotonic`'s clock.

        Raises InvalidArgument, NotFound, VideoChanged, BadMedia, ModelUnavailable, ModelRejected, DeadlineExceeded and
        Cancelled, with the calls that were made.
        """
        query = _checked(request)
        clip = self._library.clip(request.video, request.path, request.width)
        cues = self._library.subtitles_of(request.video, request.subtitles).within(clip.start, clip.end)
        model = self._client.describe(request.pool)
        system = self._pack.render("qa_system", frames=FRAME_COUNT)
        question = f"Question: {query}"
        # Nobody knows what is in a query, but no token is shorter than a byte.
        room = Room(model.context_length, _MAX_TOKENS, system, model.model, reserved=len(question.encode()))
        shown = view(clip, cues, FRAME_COUNT, LONGEST_SIDE, room)
        frames = self._library.frames(clip, shown.frames, shown.longest_side)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": system},
            {"role": "user", "content": [*content(frames, shown.cues, shown.note), text_part(question)]},
        ]

        def ask() -> Completion:
            return self._client.complete(
                messages,
                max_tokens=_MAX_TOKENS,
                deadline=deadline,
                pool=request.pool,
                priority=request.priority,
                cancelled=cancelled,
            )

        (answer, reasoning), calls = ask_for_words(ask, read_answer, "qa")
        return ClipAnswer(answer, reasoning, clip, len(frames), calls)


def read_answer(text: str) -> tuple[str, str] | None:
    """Returns the answer and the reasoning in a model's reply, or None when there is no answer.

    A reply without tags is an answer as a whole, and so is reasoning that no answer follows.
    """
    said = without_thinking(text)
    opened = re.search(r"<answer>", said, re.IGNORECASE)
    closed = re.search(r"</reasoning>", said, re.IGNORECASE)
    if closed is not None:
        reasoning, rest = said[: closed.start()], said[closed.end() :]
    else:
        place = opened.start() if opened is not None else 0
        reasoning, rest = said[:place], said[place:]
    answer = tagged(rest, "answer")
    if answer is None:
        answer = tagged(said, "answer") or rest.strip() or said
    words = without_tags(answer, "answer", "reasoning")
    thought = without_tags(tagged(reasoning, "reasoning") or reasoning, "answer", "reasoning")
    return (words[:MAX_ANSWER_CHARS], thought[:MAX_ANSWER_CHARS]) if words else None


def _checked(request: QuestionRequest) -> str:
    query = request.query.strip()
    if not 1 <= len(query) <= MAX_QUERY_CHARS:
        raise InvalidArgument(
            f"query has {len(query):,} characters; it must have 1 to {MAX_QUERY_CHARS:,}", field="query"
        )
    if len(request.path) != LEVELS:
        raise InvalidArgument(
            f"path has {len(request.path)} ids; a question is about a low segment, which has {LEVELS}", field="path"
        )
    return query
