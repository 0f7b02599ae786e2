"""Chat requests as a model reads them: checked, decoded, counted."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL import Image

# 128 small frames for a caption, or 16 of at most 1024 pixels for a clip, are about 5 MB. This leaves room.
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_IMAGES = 512
# A small file can decode to gigabytes; 8K video has 33 million pixels a frame.
MAX_IMAGE_PIXELS = 40_000_000
MAX_PATTERN_CHARS = 20_000
# Vision models of the Qwen family spend one token on this many pixels, squared.
PIXELS_PER_TOKEN_SIDE = 32


class Refused(Exception):
    """The request is answered with an error. `status` is the HTTP status, `param` the field at fault."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


@dataclass(frozen=True)
class Picture:
    """One image as it was sent: its encoded bytes and its size in pixels."""

    data: bytes
    width: int
    height: int

    @property
    def tokens(self) -> int:
        """What the image counts: one token for every 32 × 32 pixels begun."""
        side = PIXELS_PER_TOKEN_SIDE
        return -(-self.width // side) * -(-self.height // side)


@dataclass(frozen=True)
class Turn:
    """One message: who speaks, and the texts and pictures in the order they were given."""

    role: str
    parts: tuple[str | Picture, ...]

    @cached_property
    def text(self) -> str:
        """All the words of the turn."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class ChatRequest:
    """A checked request. `max_tokens` is None where the caller sets no limit."""

    model: str
    turns: tuple[Turn, ...]
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    pattern: re.Pattern[str] | None = None
    choices: tuple[str, ...] = ()


def count_tokens(text: str) -> int:
    """Returns how many tokens a text counts: its words in pieces of up to five letters, and each other sign."""
    return len(re.findall(r"\w{1,5}|[^\w\s]", text))


def parse_request(body: bytes) -> ChatRequest:
    """Reads the body of POST /v1/chat/completions. Unknown fields are ignored. Raises Refused."""
    try:
        fields = json.loads(body)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Refused(400, f"The body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise Refused(400, "The body must be a JSON object.")
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise Refused(400, "model must name a model; GET /v1/models lists them.", "model")
    if fields.get("n") not in (None, 1):
        raise Refused(400, "n must be 1: these models always give the same answer.", "n")
    if fields.get("stream"):
        raise Refused(400, "stream is not supported: ask again without it.", "stream")
    pattern, choices = _structure(fields.get("structured_outputs"))
    return ChatRequest(
        model=model,
        turns=_turns(fields.get("messages")),
        max_tokens=_max_tokens(fields),
        stop=_stop(fields.get("stop")),
        include_stop=bool(fields.get("include_stop_str_in_output")),
        pattern=pattern,
        choices=choices,
    )


def _max_tokens(fields: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = fields.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise Refused(400, f"{name} is {value!r}; it must be a whole number of at least 1.", name)
        return value
    return None


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise Refused(400, "stop must be a string or a list of strings, none of them empty.", "stop")
    return tuple(stops)


def _structure(value: Any) -> tuple[re.Pattern[str] | None, tuple[str, ...]]:
    if value is None:
        return None, ()
    if not isinstance(value, dict):
        raise Refused(400, "structured_outputs must be an object.", "structured_outputs")
    kinds = {kind for kind in ("regex", "choice", "json", "grammar", "structural_tag") if value.get(kind) is not None}
    if not kinds <= {"regex", "choice"}:
        raise Refused(400, f"structured_outputs supports regex and choice, not {', '.join(sorted(kinds))}.")
    regex, choices = value.get("regex"), value.get("choice") or []
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise Refused(400, "structured_outputs.choice must be a list of strings.", "structured_outputs")
    if regex is None:
        return None, tuple(choices)
    if not isinstance(regex, str) or len(regex) > MAX_PATTERN_CHARS:
        raise Refused(400, f"structured_outputs.regex must be a string of at most {MAX_PATTERN_CHARS} characters.")
    try:
        return re.compile(regex), tuple(choices)
    except (re.error, RecursionError, OverflowError) as error:
        raise Refused(400, f"structured_outputs.regex cannot be read: {error}", "structured_outputs") from error


def _turns(value: Any) -> tuple[Turn, ...]:
    if not isinstance(value, list) or not value:
        raise Refused(400, "messages must be a list with at least one message.", "messages")
    turns = tuple(_turn(message, f"messages[{number}]") for number, message in enumerate(value))
    if sum(isinstance(part, Picture) for turn in turns for part in turn.parts) > MAX_IMAGES:
        raise Refused(400, f"At most {MAX_IMAGES} images may be given in one request.", "messages")
    return turns


def _turn(message: Any, where: str) -> Turn:
    if not isinstance(message, dict):
        raise Refused(400, f"{where} must be an object.", where)
    role = message.get("role")
    if role not in ("system", "developer", "user", "assistant"):
        raise Refused(400, f"{where}.role is {role!r}; it must be system, user or assistant.", f"{where}.role")
    content = message.get("content")
    if isinstance(content, str):
        return Turn(role, (content,))
    if not isinstance(content, list):
        raise Refused(400, f"{where}.content must be a string or a list of parts.", f"{where}.content")
    return Turn(role, tuple(_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)))


def _part(part: Any, where: str) -> str | Picture:
    if isinstance(part, dict):
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            return str(part["text"])
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if part.get("type") == "image_url" and isinstance(url, str):
            return _picture(url, where)
    raise Refused(400, f'{where} must be {{"type": "text", …}} or {{"type": "image_url", …}}.', where)


_DATA_URI = re.compile(r"data:image/(?:jpeg|jpg|png|webp);base64,")


def _picture(url: str, where: str) -> Picture:
    head = _DATA_URI.match(url)
    if head is None:
        raise Refused(
            400, f"{where}: only data:image/jpeg;base64,… (or png, webp) is read; no address is fetched.", where
        )
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"{where}: the image is not base64: {error}", where) from error
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Refused(400, f"{where}: the image cannot be read.", where) from error
    if width * height > MAX_IMAGE_PIXELS:
        raise Refused(400, f"{where}: {width} × {height} pixels are more than {MAX_IMAGE_PIXELS}.", where)
    return Picture(data, width, height)
