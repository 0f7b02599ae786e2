"""How the scripted model server counts: a tokenizer of one line, images by the real rule, and a prefix cache."""

from __future__ import annotations

import base64
import io
import re
import threading
import zlib
from typing import Any

from PIL import Image

from longvideo.tokens import image_tokens

BLOCK = 32
"""Tokens to a block of the prefix cache: only whole blocks are found again. vLLM's is 16 or 32."""

_PIECE = re.compile(r"\s+|\w{1,4}|[^\w\s]")


def text_pieces(text: str) -> list[str]:
    """Returns the text in pieces of about a token each; together they are the text."""
    return _PIECE.findall(text)


def prompt_tokens(messages: list[dict[str, Any]]) -> list[int]:
    """Returns the tokens of a conversation, as numbers that are equal where the tokens are."""
    tokens: list[int] = []
    for message in messages:
        tokens += _numbers(f"\n[{message['role']}]\n")
        content = message["content"]
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                tokens += _numbers(part["text"])
            else:
                tokens += _image(part["image_url"]["url"])
    return tokens


def _numbers(text: str) -> list[int]:
    return [zlib.crc32(piece.encode("utf-8", "replace")) for piece in text_pieces(text)]


def _image(url: str) -> list[int]:
    data = base64.b64decode(url.partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:  # reads the header only
        count = image_tokens(*image.size)
    return [zlib.crc32(data)] * (count + 2)


class CacheOfPrefixes:
    """Knows every block of every prompt seen, with all that came before it, as vLLM's prefix cache does."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._lock = threading.Lock()

    def count_and_add(self, tokens: list[int]) -> int:
        """Returns how many leading tokens were seen before, and remembers all of them.

        At least the last token is always computed anew.
        """
        cached, chain, still = 0, 0, True
        with self._lock:
            for start in range(0, (len(tokens) - 1) // BLOCK * BLOCK, BLOCK):
                chain = zlib.crc32(repr((chain, tokens[start : start + BLOCK])).encode())
                still = still and chain in self._known
                cached += BLOCK if still else 0
                self._known.add(chain)
        return cached
