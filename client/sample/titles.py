"""What is written over the pictures: headlines, chapter cards, and the signs with their small print."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from client.sample.canvas import HEIGHT, WIDTH, Canvas, Colour, font, mix
from client.sample.script import Chapter, Place, Programme

Rectangle = tuple[int, int, int, int]

# Pixels at 1280 wide. A headline is still 12 pixels high when the picture is 256 wide; the values on a sign are 10
# pixels high at 1024 wide, where they can be read, and 4 at 362, where they cannot; at 512 few can.
HEADLINE_SIZE = 64
KICKER_SIZE = 26
SIGN_TITLE_SIZE = 24
LABEL_SIZE = 15
VALUE_SIZE = 12

BANNER: Rectangle = (0, 552, WIDTH, 692)
SIGN_WIDTH, SIGN_HEIGHT = 330, 256

ACCENTS: dict[str, Colour] = {
    "harbour": (44, 116, 156),
    "market": (186, 74, 62),
    "bakery": (196, 120, 48),
    "observatory": (84, 84, 168),
    "museum": (140, 100, 52),
    "lighthouse": (190, 56, 60),
    "tram": (44, 124, 100),
    "glasshouse": (74, 134, 62),
}
_INK: Colour = (14, 20, 36)
_PAPER: Colour = (248, 244, 234)
_BOARDS: tuple[Colour, ...] = (_PAPER, (238, 230, 208), (232, 238, 240))


def banner(picture: Image.Image, chapter: Chapter, place: Place) -> Rectangle:
    """Writes the headline of a place over a picture and returns where."""
    accent = ACCENTS[chapter.topic.name]
    left, top, right, bottom = BANNER
    _tint(picture, BANNER, _INK, 0.84)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, top, 18, bottom), fill=accent)
    draw.rectangle((left, bottom - 4, right, bottom), fill=accent)
    draw.text((52, top + 14), chapter.topic.title, font=font(KICKER_SIZE), fill=mix(accent, (255, 255, 255), 0.6))
    draw.text((50, top + 50), place.name, font=font(HEADLINE_SIZE), fill=_PAPER, stroke_width=1)
    return BANNER


def sign(picture: Image.Image, chapter: Chapter, place: Place, look: int) -> Rectangle:
    """Puts a sign with the facts of a place into a picture and returns where."""
    rng = random.Random(look)
    left, top = rng.choice([70, 880]), rng.randrange(96, 190)
    dark = rng.random() < 0.4
    back, ink = ((30, 36, 48), (240, 226, 190)) if dark else (rng.choice(_BOARDS), _INK)
    accent = ACCENTS[chapter.topic.name]
    tall = BANNER[1] - top + 16
    canvas = Canvas(SIGN_WIDTH + 40, tall + tall % 2, clear=True)
    for post in (50, SIGN_WIDTH - 26):
        canvas.box(post, 0, post + 14, tall, mix(accent, (40, 32, 30), 0.75))
    canvas.box(12, 8, SIGN_WIDTH + 28, SIGN_HEIGHT + 24, mix(accent, (30, 26, 30), 0.6), radius=14)
    canvas.box(20, 16, SIGN_WIDTH + 20, SIGN_HEIGHT + 16, back, radius=8)
    canvas.box(20, 16, SIGN_WIDTH + 20, 62, accent, radius=8)
    board = canvas.finished()
    picture.paste(board, (left - 20, top - 16), board)
    draw = ImageDraw.Draw(picture)
    draw.text((left + 20, top + 8), chapter.topic.sign, font=font(SIGN_TITLE_SIZE), fill=(255, 255, 255))
    step = (SIGN_HEIGHT - 54) / len(place.facts)
    for number, fact in enumerate(place.facts):
        line = top + 50 + step * (number + 0.5)
        draw.text((left + 20, line), fact.label, font=font(LABEL_SIZE), fill=ink, anchor="lm")
        draw.text((left + SIGN_WIDTH - 20, line), fact.value, font=font(VALUE_SIZE), fill=ink, anchor="rm")
        if number:
            rule = line - step / 2
            draw.line((left + 16, rule, left + SIGN_WIDTH - 16, rule), fill=mix(back, ink, 0.2))
    return left - 20, top - 16, left + SIGN_WIDTH + 20, BANNER[1]


def card(picture: Image.Image, chapter: Chapter) -> None:
    """Turns a picture into the title card of a chapter."""
    accent = ACCENTS[chapter.topic.name]
    _tint(picture, (0, 0, WIDTH, HEIGHT), mix(accent, _INK, 0.62), 0.72)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((WIDTH / 2 - 46, 196, WIDTH / 2 + 46, 288), outline=_PAPER, width=3)
    _centred(draw, 241, str(chapter.number), 48)
    _centred(draw, 364, chapter.topic.title, 76)
    draw.rectangle((WIDTH / 2 - 90, 434, WIDTH / 2 + 90, 438), fill=mix(accent, (255, 255, 255), 0.4))
    _centred(draw, 484, "  ·  ".join(place.name for place in chapter.places), 30)


def opening(picture: Image.Image, programme: Programme) -> None:
    """Turns a picture into the opening title."""
    _tint(picture, (0, 0, WIDTH, HEIGHT), _INK, 0.35)
    draw = ImageDraw.Draw(picture)
    _centred(draw, 280, programme.title, 104)
    _centred(draw, 384, f"an evening on the way through {programme.region}", 34)


def closing(picture: Image.Image, programme: Programme) -> None:
    """Turns a picture into the closing title."""
    _tint(picture, (0, 0, WIDTH, HEIGHT), _INK, 0.62)
    draw = ImageDraw.Draw(picture)
    _centred(draw, 300, "Good night", 92)
    _centred(draw, 400, f"{programme.title}, from {programme.region}", 32)


def _centred(draw: ImageDraw.ImageDraw, y: float, text: str, size: int) -> None:
    """Writes a line in the middle of the picture."""
    draw.text((WIDTH / 2, y), text, font=font(size), fill=_PAPER, anchor="mm", stroke_width=size // 60)


def _tint(picture: Image.Image, part: Rectangle, colour: Colour, share: float) -> None:
    """Lays a half-transparent colour over a part of a picture."""
    below = picture.crop(part)
    picture.paste(Image.blend(below, Image.new("RGB", below.size, colour), share), part[:2])
