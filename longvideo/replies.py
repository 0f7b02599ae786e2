"""What models that look at videos reply: reading it tolerantly, and asking once more when there is nothing in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from longvideo import metrics
from longvideo.errors import LongVideoError, ModelUnavailable
from longvideo.inference import Completion
from longvideo.usage import Call

_Read = TypeVar("_Read")


def tagged(text: str, tag: str) -> str | None:
    """Returns what stands between the first `<tag>` and the `</tag>` after it, or None without either.

    A tag that is never closed runs to the end of the text; one that is never opened starts with the text.
    """
    opened = re.search(rf"<{tag}>", text, re.IGNORECASE)
    rest = text[opened.end() :] if opened else text
    closed = re.search(rf"</{tag}>", rest, re.IGNORECASE)
    if opened is None and closed is None:
        return None
    return (rest[: closed.start()] if closed else rest).strip()


def without_thinking(text: str) -> str:
    """Returns what a model says after its `<think>…</think>`; the empty text when it never stops thinking."""
    _, closed, after = text.rpartition("</think>")
    if closed:
        return after
    return text.partition("<think>")[0]


def without_tags(text: str, *tags: str) -> str:
    """Returns the text without these tags, and without space around it."""
    return re.sub(rf"</?(?:{'|'.join(tags)})>", "", text, flags=re.IGNORECASE).strip()


def ask_for_words(
    ask: Callable[[], Completion], read: Callable[[str], _Read | None], role: str
) -> tuple[_Read, tuple[Call, ...]]:
    """Returns what `read` makes of the model's reply, and all calls that it took, which it counts.

    A reply of which `read` makes nothing counts as an invalid call, and the model is asked once more. Raises
    ModelUnavailable with the reason MODEL_EMPTY_ANSWER when the second is no better, and what `ask` raises; either
    error carries all calls.
    """
    try:
        result, calls = _ask_for_words(ask, read, role)
    except LongVideoError as error:
        metrics.count_calls(error.calls)
        raise
    metrics.count_calls(calls)
    return result, calls


def _ask_for_words(
    ask: Callable[[], Completion], read: Callable[[str], _Read | None], role: str
) -> tuple[_Read, tuple[Call, ...]]:
    calls: tuple[Call, ...] = ()
    try:
        for _ in range(2):
            completion = ask()
            result = read(completion.text)
            if result is not None:
                return result, calls + completion.calls
            *failed, last = completion.calls
            calls += (*failed, replace(last, outcome="invalid", detail=f"empty answer ({completion.finish_reason})"))
    except LongVideoError as error:
        error.calls = calls + error.calls
        raise
    empty = ModelUnavailable(
        f"the {role} model {calls[-1].model} at {calls[-1].endpoint} answered twice without a word; look whether it "
        "serves images, and what its log says",
        reason="MODEL_EMPTY_ANSWER",
        role=role,
    )
    empty.calls = calls
    raise empty
