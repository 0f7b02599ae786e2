"""How many tokens a request takes, so that it fits before it is sent.

Images follow the resize rule of Qwen's vision-language models, which is exact. Text is estimated, from above, by its
bytes; a `TokenMeter` learns the true ratio from what the servers report.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class ImageRule:
    """How a model's preprocessing cuts an image into tokens.

    One token covers `factor` by `factor` pixels. An image of fewer than `min_tokens` is scaled up, one of more than
    `max_tokens` down.
    """

    factor: int
    min_tokens: int
    max_tokens: int


QWEN3_VL = ImageRule(factor=32, min_tokens=64, max_tokens=16384)
"""Qwen3-VL: patches of 16 pixels merged 2 by 2; between 65,536 and 16,777,216 pixels (its preprocessor_config.json)."""

QWEN25_VL = ImageRule(factor=28, min_tokens=4, max_tokens=16384)
"""Qwen2.5-VL: patches of 14 pixels merged 2 by 2; between 3,136 and 12,845,056 pixels (likewise)."""

IMAGE_FRAME_TOKENS = 2
"""Tokens around each image: vision start and vision end."""

MESSAGE_TOKENS = 8
"""Tokens around each message in Qwen's chat template (5), and some to spare."""

BYTES_PER_TOKEN = 2.0
"""Bytes of UTF-8 to a token, at the least that real texts have: English has about 4.5 with Qwen's vocabulary,
Chinese 4, numbers 1 to 2 (each digit is a token of its own), so times and ids between words come to about 2.5."""

SMALLEST_SIDE = 28
"""Pixels: no frame is made smaller than this; the models would only scale it up again."""


def scaled(width: int, height: int, longest_side: int) -> tuple[int, int]:
    """Returns the size of an image scaled down so that its longer side is at most `longest_side`; never up."""
    longest = max(width, height)
    if longest <= longest_side:
        return width, height
    ratio = longest_side / longest
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def image_rule(model: str) -> ImageRule:
    """Returns the rule for a model by its name: Qwen2.5-VL's for `qwen2.5-vl` and `qwen2-vl`, else Qwen3-VL's."""
    name = model.lower().replace("_", "-")
    return QWEN25_VL if "qwen2.5-vl" in name or "qwen2-vl" in name else QWEN3_VL


def image_tokens(width: int, height: int, rule: ImageRule = QWEN3_VL) -> int:
    """Returns the tokens of an image of `width` by `height` pixels, without the two around it.

    Both sides are rounded to a multiple of the rule's factor; an image that is then too large or too small is scaled
    first. A 1024-pixel square costs 1,024 tokens with Qwen3-VL.

    Raises:
        ValueError: A side is not positive.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image has at least one pixel, not {width} x {height}")
    area = rule.factor * rule.factor
    rows, columns = round(height / rule.factor), round(width / rule.factor)
    if rows * columns > rule.max_tokens:
        ratio = math.sqrt(width * height / (rule.max_tokens * area))
        rows = max(1, math.floor(height / ratio / rule.factor))
        columns = max(1, math.floor(width / ratio / rule.factor))
    elif rows * columns < rule.min_tokens:
        ratio = math.sqrt(rule.min_tokens * area / (width * height))
        rows, columns = math.ceil(height * ratio / rule.factor), math.ceil(width * ratio / rule.factor)
    return rows * columns


def fit_images(
    count: int,
    width: int,
    height: int,
    longest_side: int,
    budget: int,
    *,
    rule: ImageRule = QWEN3_VL,
) -> int:
    """Returns the longest side, at most `longest_side` pixels, at which `count` images take at most `budget` tokens.

    Args:
        count: How many images of one size there are.
        width: Pixels across, before scaling.
        height: Pixels down, before scaling.
        longest_side: The wanted longest side.
        budget: The tokens that all images may take together, those around each image included.
        rule: How the model cuts images.

    Returns:
        A side of SMALLEST_SIDE pixels where even that does not fit: the caller then sends fewer images.
    """

    def fits(side: int) -> bool:
        tokens = image_tokens(*scaled(width, height, side), rule)
        return count * (tokens + IMAGE_FRAME_TOKENS) <= budget

    best = min(longest_side, max(width, height))
    # Rounding makes the tokens uneven, so sizes are not halved: at most some thousand are looked at.
    while best > SMALLEST_SIDE and not fits(best):
        best -= 1
    return best


class TokenMeter:
    """Estimates the tokens of texts, from above, and gets better with every prompt whose tokens a server counted.

    Threads share one.
    """

    ENOUGH = 1024
    """Bytes: what a shorter text costs is mostly what stands around it."""

    def __init__(self, bytes_per_token: float = BYTES_PER_TOKEN, margin: float = 1.1) -> None:
        """Makes a meter.

        Args:
            bytes_per_token: What is assumed before anything was observed.
            margin: By how much the estimate exceeds the densest prompt seen lately.
        """
        self._assumed = bytes_per_token
        self._margin = margin
        self._seen: deque[float] = deque(maxlen=64)
        self._lock = threading.Lock()

    def observe(self, text: str, tokens: int) -> None:
        """Notes that a text took `tokens` tokens: without those of images, and 0 where the server did not say."""
        size = _size(text)
        if size >= self.ENOUGH and tokens > 0:
            with self._lock:
                self._seen.append(size / tokens)

    @property
    def bytes_per_token(self) -> float:
        """Returns how many bytes are taken for one token now."""
        with self._lock:
            return min(self._seen) / self._margin if self._seen else self._assumed

    def estimate(self, text: str) -> int:
        """Returns the tokens that the text takes at most, as far as can be told."""
        return text_tokens(text, self.bytes_per_token)

    def clip(self, text: str, tokens: int) -> str:
        """Returns the text, cut after a word and marked with `…` where its estimate exceeds `tokens`."""
        room = math.floor(tokens * max(self.bytes_per_token, 1.0))
        if _size(text) <= room or self.estimate(text) <= tokens:
            return text
        if room < _size("…"):
            return ""
        kept = text.encode("utf-8", "replace")[: room - _size("…")].decode("utf-8", "ignore")
        words = kept.rstrip().rpartition(" ")[0]
        # A text without spaces, as Chinese is, is cut where it must be.
        return (words if len(words) > len(kept) // 2 else kept) + "…"


def text_tokens(text: str, bytes_per_token: float = BYTES_PER_TOKEN) -> int:
    """Returns about how many tokens the text takes at most. Never more than its bytes: no token is shorter."""
    size = _size(text)
    return min(size, math.ceil(size / max(bytes_per_token, 1.0)))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
