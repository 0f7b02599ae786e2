"""Model servers that know the right answer of every question, note every call, and misbehave when they are told to."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from longvideo.testing import Reply, ScriptedModelServer
from tests.chaos.questions import Question, caption_code, clip_code

ROLES = ("reason", "caption", "qa")
MOODS = ("500", "429", "hang", "cut off", "damaged JSON", "unusable")
# Three replies in a row that cannot be used end an episode, as they should.
_MOST_UNUSABLE = 2
_CODE = re.compile(r"code-\w+(?:\.\d+)?")


@dataclass(frozen=True)
class Asked:
    """One call: which process made it, for what, and when the whole answer had been sent, if it was.

    `what` is the question and the round for the reasoner and the qa model, the segment's heading for the captioner.
    """

    caller: str
    role: str
    what: tuple[str, int]
    arrived: float
    answered: float | None = None
    usable: bool = False


class Brain:
    """What all model servers share. `calls` is by the id that the caller gave its call."""

    def __init__(self, questions: dict[str, Question], seed: int, pace: float) -> None:
        """Makes a brain whose models think between `pace` and ten times as many seconds."""
        self.calls: dict[str, Asked] = {}
        self.lock = threading.Lock()
        self._questions = questions
        self._pace = pace
        self._random = random.Random(seed)
        self._step = 0.0
        self._moods: dict[str, tuple[str, float]] = {}
        self._unusable: Counter[tuple[str, str, int]] = Counter()

    def upset(self, role: str, mood: str, seconds: float) -> None:
        """Puts the models of a role into a mood for a while."""
        self._moods[role] = (mood, time.time() + seconds)

    def march(self, step: float) -> None:
        """Makes all answers come at the same moments, so many seconds apart, and for 0 as they come."""
        self._step = step

    def reply(self, caller: str, request: dict[str, Any], call_id: str) -> Reply:
        """Notes a call and answers it."""
        role, what = _read(request["messages"])
        with self.lock:
            asked = Asked(caller, role, what, time.time())
            self.calls[call_id] = asked
            delay = self._pace * 10 ** self._random.random()
            delay = self._step - asked.arrived % self._step if self._step else delay
            mood, until = self._moods.get(role, ("", 0.0))
            sour = asked.arrived < until and self._random.random() < 0.8
            odd = self._random.random() < 0.02
        if sour and (bad := self._bad(mood, role, what, delay)) is not None:
            return bad
        with self.lock:
            self.calls[call_id] = replace(asked, usable=True)
        text = self._right(role, what, request["messages"])
        # What a model can write and neither UTF-8 nor PostgreSQL can hold.
        text = text.replace("codes", "codes \ud800\0") if odd and role == "reason" else text
        return Reply(text, delay=delay)

    def ended(self, call_id: str) -> None:
        """Notes that the whole answer of a call was sent."""
        with self.lock:
            self.calls[call_id] = replace(self.calls[call_id], answered=time.time())

    def _bad(self, mood: str, role: str, what: tuple[str, int], delay: float) -> Reply | None:
        match mood:
            case "500" | "429":
                return Reply.error(int(mood), Retry_After="1")
            case "hang":
                return Reply.silence()
            case "cut off":
                return replace(Reply.cut(), delay=delay)
            case "damaged JSON":
                return Reply(body=b'{"choices": [{"message": {"content": "<answer>', delay=delay)
            case _:
                return self._unusable_reply(role, what, delay)

    def _unusable_reply(self, role: str, what: tuple[str, int], delay: float) -> Reply | None:
        with self.lock:
            self._unusable[role, *what] += 1
            if self._unusable[role, *what] > _MOST_UNUSABLE:
                return None
        return Reply("" if role != "reason" else "<tool>get_caption((99, 1)) and so on", delay=delay)

    def _right(self, role: str, what: tuple[str, int], messages: list[dict[str, Any]]) -> str:
        if role == "caption":
            path, start = re.findall(r"\(([\d,]+)\).*from ([\d.]+) s", what[0])[0]
            code = caption_code(tuple(map(int, path.split(","))), float(start))
            return f"<caption>A wall with {code} on it.</caption>"
        question, number = self._questions[what[0]], what[1]
        if role == "qa":
            return f"<reasoning>I see it.</reasoning><answer>It says {clip_code(question.id, number)}.</answer>"
        if number > len(question.steps):
            # Only what it was told: a round that is lost, or told twice, makes the answer wrong.
            told = [message["content"] for message in messages[2:] if message["role"] == "user"]
            codes = [code for text in told if _is_observation(text) for code in _CODE.findall(text)]
            return f"<think>I have all the codes.</think>\n<answer>{' '.join(codes)}</answer>"
        step = question.steps[number - 1]
        if step.asks:
            call = f"video_qa({step.segment}, Which code of {question.id} is in round {number}?)"
        else:
            call = f"get_caption({step.segment})"
        return f"<think>I look for codes.</think>\n<tool>{call}</tool>"


def _read(messages: list[dict[str, Any]]) -> tuple[str, tuple[str, int]]:
    """Returns the role that a request is for, and what it asks about."""
    content = messages[1]["content"]
    if isinstance(content, str):
        question = re.findall(r"\[(q\d+)\]", content)[0]
        seen = sum(message["role"] == "user" and _is_observation(message["content"]) for message in messages[2:])
        return "reason", (question, seen + 1)
    texts = [part["text"] for part in content if part["type"] == "text"]
    if texts[-1].startswith("Question:"):
        question, number = re.findall(r"of (q\d+) is in round (\d+)", texts[-1])[0]
        return "qa", (question, int(number))
    return "caption", (texts[0], 0)


def _is_observation(text: str) -> bool:
    return text.startswith("<information>") or "-level caption of" in text[:40]


class ModelServer(ScriptedModelServer):
    """A model server for one process of ours, so that it is known who called."""

    def __init__(self, brain: Brain, caller: str) -> None:
        super().__init__(lambda _: "", owned_by="somebody", models=("scripted",))
        self._brain, self._caller = brain, caller

    def chat(self, request: dict[str, Any], headers: dict[str, str]) -> Reply:
        """Answers as the brain says, and keeps nothing else."""
        reply = self._brain.reply(self._caller, request, headers["x-request-id"])
        if reply.body is not None:
            return reply
        message = {"role": "assistant", "content": reply.text}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return replace(reply, body=json.dumps({"model": "scripted", "choices": [choice], "usage": usage}).encode())

    def chat_ended(self, headers: dict[str, str], *, sent: bool) -> None:
        """Tells the brain."""
        if sent:
            self._brain.ended(headers["x-request-id"])
