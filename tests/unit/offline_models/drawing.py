"""Frames drawn for tests: text on a plain ground, sent as JPEG at the size a service would send."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from offline_models.messages import Picture, Turn

LIGHT, DARK = (245, 245, 240), (15, 18, 30)

Text = tuple[float, float, int, str]  # x, y and letter size in pixels of a 1280 × 720 picture, words


def draw(texts: Sequence[Text], longest_side: int, ground: tuple[int, int, int] = DARK) -> Picture:
    """Returns a 16:9 frame with the texts on it, scaled down to `longest_side`."""
    image = Image.new("RGB", (1280, 720), ground)
    pen = ImageDraw.Draw(image)
    ink = LIGHT if sum(ground) < 380 else DARK
    for x, y, size, words in texts:
        pen.text((x, y), words, font=ImageFont.load_default(size), fill=ink)
    if longest_side < 1280:
        image = image.resize((longest_side, longest_side * 9 // 16), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=88)
    return Picture(encoded.getvalue(), *image.size)


def request(parts: Sequence[str | Picture], system: str = "") -> tuple[Turn, ...]:
    """Returns the turns of a request with these parts."""
    return (Turn("system", (system,)), Turn("user", tuple(parts)))


def timed(frames: Sequence[tuple[float, Picture]]) -> list[str | Picture]:
    """Returns frames with their times, as the services send them."""
    return [part for time, picture in frames for part in (f"[{time:.2f}s]", picture)]
