"""Reading the bodies of chat requests."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from offline_models.messages import Refused, count_tokens, parse_request
from tests.unit.offline_models.drawing import draw

PICTURE = draw([], 256)
URL = "data:image/jpeg;base64," + base64.b64encode(PICTURE.data).decode()


def _body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def _content(*parts: Any) -> bytes:
    return _body(messages=[{"role": "user", "content": list(parts)}])


def test_texts_and_pictures_keep_their_order() -> None:
    """Content is a text, or texts and pictures in order; a picture costs a token for every 32 pixels squared."""
    image = {"type": "image_url", "image_url": {"url": URL}}
    request = parse_request(_content({"type": "text", "text": "a"}, image, {"type": "text", "text": "b"}))
    first, picture, last = request.turns[0].parts
    assert (first, last) == ("a", "b")
    assert picture == PICTURE
    assert PICTURE.tokens == 8 * 5


def test_unknown_fields_are_ignored() -> None:
    """Fields of other servers do no harm."""
    assert parse_request(_body(temperature=0, guided_regex="x", n=1, stream=False)).stop == ()


def test_limits_and_stops_are_taken_over() -> None:
    """The newer name of the token limit wins; one stop string may stand alone."""
    request = parse_request(_body(max_tokens=7, max_completion_tokens=5, stop="x", include_stop_str_in_output=True))
    assert (request.max_tokens, request.stop, request.include_stop) == (5, ("x",), True)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"\xff", "JSON"),
        (b"[]", "object"),
        (b"[" * 100_000, "JSON"),
        (_body(model=None), "model"),
        (_body(messages=[]), "messages"),
        (_body(messages=[{"role": "tool", "content": ""}]), "role"),
        (_body(messages=[{"role": "user", "content": 5}]), "content"),
        (_content({"type": "audio"}), "content[0]"),
        (_content({"type": "image_url", "image_url": {"url": "http://example.com/a.jpg"}}), "no address"),
        (_content({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}), "no address"),
        (_content({"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}), "base64"),
        (_content({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}), "cannot be read"),
        (_body(n=2), "n must be 1"),
        (_body(stream=True), "stream"),
        (_body(max_tokens=0), "max_tokens"),
        (_body(max_tokens="5"), "max_tokens"),
        (_body(stop=[""]), "stop"),
        (_body(structured_outputs={"regex": "("}), "regex"),
        (_body(structured_outputs={"regex": "x" * 30_000}), "regex"),
        (_body(structured_outputs={"json": {}}), "json"),
    ],
)
def test_malformed_requests_are_refused(body: bytes, word: str) -> None:
    """What is wrong with a request is said, with status 400."""
    with pytest.raises(Refused) as refused:
        parse_request(body)
    assert refused.value.status == 400
    assert word in refused.value.message


def test_tokens_are_counted_the_same_each_time() -> None:
    """Long words count several tokens, signs one each."""
    assert count_tokens("Hello, wonderful world!") == 1 + 1 + 2 + 1 + 1
