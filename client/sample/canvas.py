"""A small painter over Pillow: double-size drawing for smooth edges, gradients, glows and cut-out sprites."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1280, 720
Colour = tuple[int, int, int]
Paint = Colour | tuple[int, int, int, int]
Point = tuple[float, float]

# Everything is drawn this much larger and then reduced: Pillow does not smooth edges itself.
_SCALE = 2


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns the typeface that Pillow brings, `size` pixels high."""
    return ImageFont.load_default(size=size)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Returns the colour that lies `share` (0 to 1) of the way from `first` to `second`."""
    red, green, blue = (round(one + (two - one) * share) for one, two in zip(first, second, strict=True))
    return red, green, blue


class Canvas:
    """A picture in the making. Coordinates are pixels of the finished picture."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT, *, clear: bool = False) -> None:
        mode, fill = ("RGBA", (0, 0, 0, 0)) if clear else ("RGB", (0, 0, 0))
        self.image = Image.new(mode, (width * _SCALE, height * _SCALE), fill)
        # Drawing with an alpha on an RGB picture blends; a clear one keeps the alpha instead.
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def polygon(self, points: Sequence[Point], paint: Paint) -> None:
        """Fills a polygon."""
        self._draw.polygon(_scaled(points), fill=paint)

    def box(self, left: float, top: float, right: float, bottom: float, paint: Paint, *, radius: float = 0) -> None:
        """Fills a rectangle, with round corners if `radius` is given."""
        corners = _scaled([(left, top), (right, bottom)])
        self._draw.rounded_rectangle(corners, radius * _SCALE, fill=paint)

    def disc(self, x: float, y: float, radius: float, paint: Paint, flat: float = 1.0) -> None:
        """Fills an ellipse around a point; `flat` is its height over its width."""
        tall = radius * flat
        self._draw.ellipse(_scaled([(x - radius, y - tall), (x + radius, y + tall)]), fill=paint)

    def slice(self, x: float, y: float, radius: float, angles: tuple[float, float], paint: Paint) -> None:
        """Fills a slice of a disc; its angles are degrees, clockwise from three o'clock."""
        corners = _scaled([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.pieslice(corners, *angles, fill=paint)

    def line(self, points: Sequence[Point], paint: Paint, width: float = 2) -> None:
        """Draws a line."""
        self._draw.line(_scaled(points), fill=paint, width=max(1, round(width * _SCALE)), joint="curve")

    def gradient(self, top: float, bottom: float, first: Colour, second: Colour) -> None:
        """Fills the whole width between two heights, from one colour to the other."""
        height = round((bottom - top) * _SCALE)
        share = np.linspace(0.0, 1.0, height)[:, None, None]
        column = np.asarray(first) * (1 - share) + np.asarray(second) * share
        one_wide = Image.fromarray(column.round().astype(np.uint8))
        strip = one_wide.resize((self.image.width, height), Image.Resampling.NEAREST)
        self.image.paste(strip, (0, round(top * _SCALE)))

    def glow(
        self, x: float, y: float, radius: float, colour: Colour, strength: float = 0.6, *, flat: float = 1.0
    ) -> None:
        """Lays a soft round light over the picture; `flat` is its height over its width."""
        wide, tall = round(radius * 2 * _SCALE), round(radius * 2 * flat * _SCALE)
        halo = Image.fromarray(np.round(_halo() * 255 * strength).astype(np.uint8)).resize(
            (wide, tall), Image.Resampling.BILINEAR
        )
        left, top = round((x - radius) * _SCALE), round((y - radius * flat) * _SCALE)
        self.image.paste(colour, (left, top, left + wide, top + tall), halo)

    def finished(self, left: float = 0, top: float = 0, zoom: float = 1.0) -> Image.Image:
        """Returns the picture, or the part from (left, top) that is `zoom` times nearer, at its final size."""
        width, height = self.image.width / _SCALE, self.image.height / _SCALE
        if zoom == 1.0:
            return self.image.reduce(_SCALE)
        right, bottom = left + width / zoom, top + height / zoom
        box = (left * _SCALE, top * _SCALE, right * _SCALE, bottom * _SCALE)
        return self.image.resize((round(width), round(height)), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)


@functools.cache
def _halo() -> NDArray[np.float64]:
    """Returns a disc of light, 1 in the middle and 0 at its rim."""
    axis = np.linspace(-1, 1, 96)
    distance = np.minimum(np.hypot(axis[:, None], axis[None, :]), 1.0)
    halo: NDArray[np.float64] = (1 - distance) ** 2
    return halo


def _scaled(points: Sequence[Point]) -> list[Point]:
    """Returns points in the pixels of the double-size picture."""
    return [(x * _SCALE, y * _SCALE) for x, y in points]
