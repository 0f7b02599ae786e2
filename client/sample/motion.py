"""Small things that move through a picture, drawn straight into its YUV planes: a frame costs next to nothing."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.sample.canvas import HEIGHT, WIDTH, Canvas, mix
from client.sample.titles import Rectangle

Planes = NDArray[np.uint8]
Number = TypeVar("Number", bound=np.generic)

# How often a sprite with two poses changes them in a cycle.
_FLAPS = 12


@dataclass(frozen=True)
class Sprite:
    """A cut-out in 4:2:0: luma and chroma with how much each pixel covers (0 to 1)."""

    luma: NDArray[np.float32]
    chroma: NDArray[np.float32]
    cover: NDArray[np.float32]
    chroma_cover: NDArray[np.float32]


@dataclass(frozen=True)
class Mover:
    """Something that comes back to where it was after one cycle: it circles, or it drifts and fades in and out.

    `orbit` holds both radii of an ellipse around `centre`, `drift` the way made in a cycle, both in pixels; `phase`
    is the share of the cycle by which it is ahead of the others. The sprites are shown in turn.
    """

    sprites: tuple[Sprite, ...]
    centre: tuple[float, float]
    orbit: tuple[float, float] = (0, 0)
    drift: tuple[float, float] = (0, 0)
    phase: float = 0.0
    fades: bool = False

    def draw(self, planes: Planes, share: float) -> None:
        """Draws it into a picture at a share (0 to 1) of the cycle."""
        here = (share + self.phase) % 1.0
        x = self.centre[0] + self.orbit[0] * math.cos(math.tau * here) + self.drift[0] * here
        y = self.centre[1] + self.orbit[1] * math.sin(math.tau * here) + self.drift[1] * here
        sprite = self.sprites[int(here * _FLAPS) % len(self.sprites)]
        strength = math.sin(math.pi * here) if self.fades else 1.0
        _blend(planes, sprite, (round(x / 2) * 2, round(y / 2) * 2), np.float32(strength))


def to_planes(picture: Image.Image) -> Planes:
    """Returns an RGB picture as one array of 4:2:0 planes, as PyAV lays them out."""
    frame = av.VideoFrame.from_ndarray(np.asarray(picture.convert("RGB")), format="rgb24")
    return frame.reformat(format="yuv420p").to_ndarray().astype(np.uint8, copy=False)


def restore(planes: Planes, original: Planes, parts: Sequence[Rectangle]) -> None:
    """Copies parts of the original back, so that nothing moves in front of what is written."""
    for left, top, right, bottom in parts:
        planes[top:bottom, left:right] = original[top:bottom, left:right]
        for target, source in zip(_chroma(planes), _chroma(original), strict=True):
            target[top // 2 : bottom // 2, left // 2 : right // 2] = source[
                top // 2 : bottom // 2, left // 2 : right // 2
            ]


def movers(topic: str, look: int) -> tuple[Mover, ...]:
    """Returns what moves at a place of a topic."""
    rng = random.Random(look)
    if topic in {"harbour", "lighthouse"}:
        at, water = (rng.uniform(160, 520), 350), 440
        if topic == "lighthouse":
            at, water = (rng.choice([80, 1060]), 402), 560
        boat = Mover((_boat(),), at, (5, 3), phase=rng.random())
        return (boat, *(_gull(rng) for _ in range(3)), *(_glint(rng, water) for _ in range(14)))
    if topic == "tram":
        return (*(_person_waiting(rng, 426) for _ in range(4)), _gull(rng), _gull(rng))
    if topic in {"market", "museum"}:
        return tuple(_person_waiting(rng, 420) for _ in range(4))
    if topic == "bakery":
        return (Mover((_puff(1),), (750, 400), fades=True), *(_steam(rng) for _ in range(4)))
    if topic == "observatory":
        return tuple(_twinkle(rng) for _ in range(24))
    return tuple(_butterfly(rng) for _ in range(5))


def _gull(rng: random.Random) -> Mover:
    centre = (rng.uniform(120, WIDTH - 120), rng.uniform(80, 240))
    return Mover(_gulls(), centre, (rng.choice([-1, 1]) * rng.uniform(40, 90), rng.uniform(10, 30)), phase=rng.random())


def _glint(rng: random.Random, top: float) -> Mover:
    return Mover(
        (_shine(),), (rng.uniform(0, WIDTH), rng.uniform(top, 540)), drift=(10, 0), phase=rng.random(), fades=True
    )


def _person_waiting(rng: random.Random, y: float) -> Mover:
    return Mover((_person(rng.randrange(4)),), (rng.uniform(60, WIDTH - 100), y), (4, 1.5), phase=rng.random())


def _steam(rng: random.Random) -> Mover:
    drift = (rng.uniform(-20, 20), -rng.uniform(90, 170))
    return Mover((_puff(0),), (rng.uniform(620, 880), 380), drift=drift, phase=rng.random(), fades=True)


def _twinkle(rng: random.Random) -> Mover:
    return Mover((_spark(),), (rng.uniform(0, WIDTH), rng.uniform(10, 330)), phase=rng.random(), fades=True)


def _butterfly(rng: random.Random) -> Mover:
    centre = (rng.uniform(120, WIDTH - 120), rng.uniform(150, 430))
    orbit = (rng.choice([-1, 1]) * rng.uniform(20, 60), rng.uniform(14, 34))
    return Mover(_butterflies(rng.randrange(3)), centre, orbit, phase=rng.random())


@functools.cache
def _boat() -> Sprite:
    canvas = Canvas(120, 60, clear=True)
    canvas.polygon([(4, 36), (116, 32), (100, 54), (16, 54)], (236, 236, 232, 255))
    canvas.polygon([(10, 46), (106, 44), (100, 54), (16, 54)], (176, 58, 54, 255))
    canvas.box(28, 20, 88, 36, (248, 246, 240, 255), radius=3)
    canvas.box(40, 8, 66, 20, (214, 220, 226, 255), radius=3)
    for window in range(5):
        canvas.box(33 + window * 11, 24, 40 + window * 11, 31, (255, 214, 130, 255), radius=1)
    canvas.box(70, 6, 78, 20, (176, 58, 54, 255))
    return _sprite(canvas)


@functools.cache
def _gulls() -> tuple[Sprite, ...]:
    wings = []
    for lift in (4, 14):
        canvas = Canvas(36, 24, clear=True)
        canvas.line([(2, 18 - lift), (10, 11), (18, 14), (26, 11), (34, 18 - lift)], (244, 244, 248, 255), 2.4)
        wings.append(_sprite(canvas))
    return tuple(wings)


@functools.cache
def _person(coat: int) -> Sprite:
    colour = [(56, 72, 104), (122, 62, 66), (64, 94, 78), (112, 92, 62)][coat]
    canvas = Canvas(52, 128, clear=True)
    canvas.box(16, 80, 24, 126, (30, 30, 38, 255), radius=2)
    canvas.box(27, 80, 35, 126, (30, 30, 38, 255), radius=2)
    canvas.box(10, 34, 41, 92, (*colour, 255), radius=12)
    canvas.box(7, 40, 15, 78, (*mix(colour, (0, 0, 0), 0.25), 255), radius=4)
    canvas.disc(26, 20, 12, (222, 180, 150, 255))
    canvas.slice(26, 17, 13, (180, 360), (62, 46, 40, 255))
    return _sprite(canvas)


@functools.cache
def _puff(kind: int) -> Sprite:
    colour = [(250, 240, 228), (255, 150, 60)][kind]
    canvas = Canvas(80, 80, clear=True)
    for radius in range(39, 3, -1):
        canvas.disc(40, 40, radius, (*colour, round(110 * (1 - radius / 40))))
    return _sprite(canvas)


@functools.cache
def _spark() -> Sprite:
    canvas = Canvas(12, 12, clear=True)
    canvas.line([(6, 0), (6, 12)], (235, 240, 255, 120), 1)
    canvas.line([(0, 6), (12, 6)], (235, 240, 255, 120), 1)
    canvas.disc(6, 6, 2.2, (255, 252, 240, 255))
    return _sprite(canvas)


@functools.cache
def _shine() -> Sprite:
    canvas = Canvas(64, 4, clear=True)
    canvas.line([(2, 2), (62, 2)], (255, 246, 226, 190), 1.6)
    return _sprite(canvas)


@functools.cache
def _butterflies(kind: int) -> tuple[Sprite, ...]:
    colour = [(250, 176, 62), (120, 170, 240), (250, 240, 214)][kind]
    shapes = []
    for spread in (12, 6):
        canvas = Canvas(32, 28, clear=True)
        for side in (-1, 1):
            canvas.disc(16 + side * spread * 0.7, 10, spread * 0.7, (*colour, 255), 1.1)
            canvas.disc(16 + side * spread * 0.55, 20, spread * 0.5, (*colour, 255))
        canvas.line([(16, 5), (16, 25)], (40, 30, 30, 255), 2)
        shapes.append(_sprite(canvas))
    return tuple(shapes)


def _sprite(canvas: Canvas) -> Sprite:
    """Returns a finished canvas as a sprite."""
    picture = canvas.finished()
    planes = to_planes(picture).astype(np.float32)
    cover = np.asarray(picture.getchannel("A"), dtype=np.float32) / np.float32(255)
    blocks = cover.reshape(picture.height // 2, 2, picture.width // 2, 2)
    return Sprite(planes[: picture.height], _chroma(planes), cover, blocks.mean((1, 3), dtype=np.float32))


def _chroma(planes: NDArray[Number]) -> NDArray[Number]:
    """Returns both chroma planes of a picture, as a view of shape (2, height / 2, width / 2)."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    return planes[height:].reshape(2, height // 2, width // 2)


def _blend(planes: Planes, sprite: Sprite, corner: tuple[int, int], strength: np.float32) -> None:
    """Lays a sprite over a picture at an even position; what lies outside is cut off."""
    (x, y), (tall, wide) = corner, sprite.luma.shape
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + wide, WIDTH), min(y + tall, HEIGHT)
    if left >= right or top >= bottom:
        return
    part = planes[top:bottom, left:right]
    inside = (slice(top - y, bottom - y), slice(left - x, right - x))
    part[:] = part + (sprite.luma[inside] - part) * sprite.cover[inside] * strength
    half = (slice((top - y) // 2, (bottom - y) // 2), slice((left - x) // 2, (right - x) // 2))
    for target, source in zip(_chroma(planes), sprite.chroma, strict=True):
        part = target[top // 2 : bottom // 2, left // 2 : right // 2]
        part[:] = part + (source[half] - part) * sprite.chroma_cover[half] * strength
