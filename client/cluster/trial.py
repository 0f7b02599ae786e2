"""One real request for each role: what a model must be able to do for an episode, on the smallest scale."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from typing import Any, Final

from longvideo.endpoint import Endpoint
from longvideo.errors import LongVideoError, ModelUnavailable
from longvideo.inference import Completion, ModelClient
from longvideo.prompts import PromptPack
from longvideo.segments import Segment
from longvideo.usage import Role

WRITTEN: Final = "LONGVIDEO 4217"
"""What is written in the picture that captioner and qa model are shown."""

_SIZE: Final = (640, 160)
_TOKENS: Final = 512
_WIDTH: Final = 4


def ask(endpoint: Endpoint, role: Role, pack: PromptPack, seconds: float) -> str:
    """Returns what a model answers, once it could be read as the role's services read it.

    Raises ModelUnavailable, ModelRejected and DeadlineExceeded.
    """
    with contextlib.closing(ModelClient(role, [endpoint], max_attempts=1)) as client:
        return _ASKED[role](client, pack, time.monotonic() + seconds)


def _reason(client: ModelClient, pack: PromptPack, deadline: float) -> str:
    from orchestrator import protocol, transcript  # noqa: PLC0415  # not needed to ask the others

    captions = [
        transcript.CaptionText(Segment((number,)), 60.0 * (number - 1), 60.0 * number, text)
        for number, text in enumerate(("A hall.", "A speaker begins.", "A sign with the number 4217.", "Applause."), 1)
    ]
    question = transcript.Question("Which number is on the sign?")
    messages = transcript.opening(pack, question, captions, duration=240.0, width=_WIDTH, max_rounds=1)
    structured = client.describe(deadline=deadline).structured_output
    completion = client.complete(
        [dict(message) for message in messages],
        max_tokens=4 * _TOKENS,
        deadline=deadline,
        stop=protocol.STOP,
        regex=protocol.reply_pattern(_WIDTH) if structured else None,
    )
    try:
        reply = protocol.parse(completion.text, _WIDTH, cut=completion.finish_reason == "length")
    except protocol.Unusable as error:
        raise _unreadable("reasoner", completion, str(error)) from None
    return reply.text.rpartition("</think>")[2].strip()


def _caption(client: ModelClient, pack: PromptPack, deadline: float) -> str:
    from caption_svc.caption import read_caption  # noqa: PLC0415  # not needed to ask the others

    system = pack.render("caption_system_low", max_words=40, level="low", frames=1)
    heading = "Segment (1,1,1) of the video, from 0.0 s to 4.0 s."
    completion = _look(client, system, [_text(heading), *_picture()], deadline)
    caption = read_caption(completion.text)
    if caption is None:
        raise _unreadable("captioner", completion, "there is no caption in its reply")
    return caption


def _qa(client: ModelClient, pack: PromptPack, deadline: float) -> str:
    from qa_svc.answer import read_answer  # noqa: PLC0415  # not needed to ask the others

    system = pack.render("qa_system", frames=1)
    completion = _look(client, system, [*_picture(), _text("Question: Which number is on the sign?")], deadline)
    answer = read_answer(completion.text)
    if answer is None:
        raise _unreadable("qa model", completion, "there is no answer in its reply")
    return answer[0]


_ASKED: Final[dict[Role, Callable[[ModelClient, PromptPack, float], str]]] = {
    "reason": _reason,
    "caption": _caption,
    "qa": _qa,
}


def _look(client: ModelClient, system: str, content: list[dict[str, Any]], deadline: float) -> Completion:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    return client.complete(messages, max_tokens=_TOKENS, deadline=deadline)


def _text(text: str) -> dict[str, Any]:
    from longvideo.clips import text_part  # noqa: PLC0415  # the video reader

    return dict(text_part(text))


def _picture() -> list[dict[str, Any]]:
    """Returns a picture of a sign, as a frame of a video is shown."""
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  # only here

    from longvideo.clips import content  # noqa: PLC0415
    from longvideo.video import Frame  # noqa: PLC0415

    image = Image.new("RGB", _SIZE, "white")
    ImageDraw.Draw(image).text((30, 40), WRITTEN, fill="black", font=ImageFont.load_default(64))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return [dict(part) for part in content([Frame(0, 1.0, *_SIZE, file.getvalue())], [])]


def _unreadable(who: str, completion: Completion, why: str) -> LongVideoError:
    return ModelUnavailable(
        f"the {who} answered what cannot be used: {why} It said: {completion.text[:200]!r}",
        reason="MODEL_USELESS_ANSWER",
    )
