"""The span of one request to a model server, by OpenTelemetry's conventions for generative AI."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.trace import Span, Status, StatusCode

from longvideo.answers import Answer, FailedAttempt
from longvideo.telemetry.spans import Kind, add_content, span
from longvideo.transport import OutOfTime
from longvideo.usage import Call

# A collector takes a few kilobytes of text; of a long conversation the end says most.
_MAX_TEXT: Final = 4000
_MAX_TEXTS: Final = 12_000


class Chat:
    """A request under way: what was asked is known, and the answer is noted when it is there."""

    def __init__(self, recorded: Span) -> None:
        self._span = recorded

    def asked(self, body: Mapping[str, Any], provider: str) -> None:
        """Notes what is sent."""
        if not self._span.is_recording():
            return
        self._span.update_name(f"chat {body['model']}")
        known = {
            "gen_ai.request.model": body["model"],
            "gen_ai.provider.name": provider or "openai",
            "gen_ai.request.max_tokens": body["max_tokens"],
            "gen_ai.request.temperature": body.get("temperature"),
            "gen_ai.request.seed": body.get("seed"),
            "gen_ai.request.stop_sequences": body.get("stop"),
            "longvideo.priority": body.get("priority"),
        }
        self._span.set_attributes({name: value for name, value in known.items() if value is not None})
        add_content(self._span, "gen_ai.input.messages", lambda: _input(body["messages"]))

    def answered(self, answer: Answer) -> None:
        """Notes what came back."""
        if not self._span.is_recording():
            return
        self._span.set_attribute("gen_ai.response.finish_reasons", [answer.finish_reason])
        if answer.id:
            self._span.set_attribute("gen_ai.response.id", answer.id)
        said = {"role": "assistant", "parts": [_part(answer.text)], "finish_reason": answer.finish_reason}
        add_content(self._span, "gen_ai.output.messages", lambda: json.dumps([said], ensure_ascii=False))


@contextlib.contextmanager
def chat(calls: Sequence[Call], *, model: str) -> Iterator[Chat]:
    """Makes a span of one request that is made within, and whose record is in the end the last of `calls`."""
    before = len(calls)
    with span(f"chat {model}".strip(), Kind.CLIENT, {"gen_ai.operation.name": "chat"}) as recorded:
        failure = ""
        try:
            yield Chat(recorded)
        except FailedAttempt as error:
            failure = error.failure.reason
            raise
        except OutOfTime:
            failure = "MODEL_TIMEOUT"
            raise
        finally:
            if failure:
                recorded.set_attribute("error.type", failure)
                recorded.set_status(Status(StatusCode.ERROR, failure))
            if recorded.is_recording() and len(calls) > before:
                recorded.set_attributes(_recorded(calls[-1]))


def _recorded(call: Call) -> dict[str, Any]:
    """Returns what the ledger has of a request, without the server's words."""
    server = urlsplit(call.endpoint)
    known = {
        "gen_ai.output.type": "text",
        "gen_ai.response.model": call.model or None,
        "gen_ai.usage.input_tokens": call.prompt_tokens or None,
        "gen_ai.usage.output_tokens": call.completion_tokens or None,
        "gen_ai.usage.cache_read.input_tokens": call.cached_tokens or None,
        "server.address": server.hostname,
        "server.port": server.port or (443 if server.scheme == "https" else 80),
        "longvideo.call": call.id,
        "longvideo.role": call.role,
        "longvideo.pool": call.pool,
        "longvideo.gpus": call.gpus,
        "longvideo.attempt": call.attempt,
        "longvideo.outcome": call.outcome,
        "longvideo.images": call.images or None,
        "longvideo.queue_seconds": call.queue_seconds,
        "longvideo.prefill_seconds": call.prefill_seconds,
        "longvideo.decode_seconds": call.decode_seconds,
    }
    return {name: value for name, value in known.items() if value is not None}


def _input(messages: Sequence[Mapping[str, Any]]) -> str:
    """Returns the end of a conversation, without its pictures."""
    kept: list[dict[str, Any]] = []
    left = _MAX_TEXTS
    for message in reversed(messages):
        parts = _parts(message["content"])
        left -= sum(len(part["content"]) for part in parts)
        if left < 0 and kept:
            break
        kept.append({"role": message["role"], "parts": parts})
    return json.dumps(kept[::-1], ensure_ascii=False)


def _parts(content: str | Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    if isinstance(content, str):
        return [_part(content)]
    return [_part("\n".join(part["text"] for part in content if part["type"] == "text"))]


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "content": text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} …"}
