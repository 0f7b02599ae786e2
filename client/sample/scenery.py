"""The pictures of the places: one painter per topic, varied by a random look."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from client.sample.canvas import HEIGHT, WIDTH, Canvas, Colour, Point, mix


@dataclass(frozen=True)
class Light:
    """The colours of a time of day: the sky from top to horizon, far land, near land, lamps and the sun or moon."""

    sky: Colour
    horizon: Colour
    far: Colour
    near: Colour
    lamp: Colour
    disc: Colour
    night: bool


LIGHTS = (
    Light((38, 52, 98), (240, 158, 116), (84, 72, 112), (38, 40, 70), (255, 214, 140), (255, 226, 178), False),
    Light((14, 22, 52), (62, 88, 138), (34, 48, 86), (16, 24, 48), (255, 206, 122), (236, 240, 248), True),
    Light((84, 144, 190), (252, 222, 168), (116, 140, 150), (58, 84, 92), (255, 236, 180), (255, 246, 214), False),
    Light((62, 48, 96), (226, 126, 138), (100, 66, 112), (46, 34, 66), (255, 220, 150), (255, 214, 196), False),
    Light((26, 58, 78), (134, 190, 180), (54, 96, 106), (24, 54, 64), (255, 232, 170), (240, 250, 236), True),
)

Painter = Callable[[Canvas, random.Random, Light], None]


def _sky(canvas: Canvas, rng: random.Random, light: Light, horizon: float) -> None:
    """Paints sky, stars or clouds, and the sun or moon."""
    canvas.gradient(0, horizon, light.sky, light.horizon)
    x, y = rng.uniform(180, 1100), rng.uniform(90, horizon * 0.55)
    if light.night:
        for _ in range(130):
            shade = rng.randrange(90, 255)
            canvas.disc(
                rng.uniform(0, WIDTH), rng.uniform(0, horizon * 0.9), rng.uniform(0.5, 1.5), (*light.disc, shade)
            )
    canvas.glow(x, y, 260, light.disc, 0.5)
    canvas.disc(x, y, 34, light.disc)
    for _ in range(7):
        x, y, size = rng.uniform(0, WIDTH), rng.uniform(50, horizon * 0.8), rng.uniform(90, 190)
        cloud = mix(light.horizon, (255, 255, 255), 0.3)
        canvas.glow(x, y, size, cloud, 0.34, flat=0.10)
        canvas.glow(x + size * 0.3, y - size * 0.07, size * 0.6, cloud, 0.34, flat=0.13)


def _hills(canvas: Canvas, rng: random.Random, base: float, height: float, colour: Colour) -> None:
    """Paints a range of rolling hills that ends at `base`."""
    waves = [(rng.uniform(0.5, 3.2), rng.uniform(0, 6.3), rng.uniform(0.2, 1.0)) for _ in range(4)]
    total = sum(weight for _, _, weight in waves)

    def top(x: float) -> float:
        swing = sum(weight * math.sin(x / WIDTH * 6.3 * pace + shift) for pace, shift, weight in waves) / total
        return base - height * (0.55 + 0.45 * swing)

    outline = [(x, top(x)) for x in range(0, WIDTH + 20, 20)]
    canvas.polygon([(0, base + 2), *outline, (WIDTH, base + 2)], colour)


def _sea(canvas: Canvas, rng: random.Random, light: Light, top: float) -> None:
    """Paints water from `top` to the lower edge, with glints of the sky."""
    canvas.gradient(top, HEIGHT, mix(light.horizon, light.sky, 0.45), mix(light.sky, (6, 12, 30), 0.45))
    for _ in range(150):
        depth = rng.random() ** 1.6
        y, x, length = top + 4 + depth * (HEIGHT - top), rng.uniform(0, WIDTH), 14 + 90 * depth
        canvas.line([(x, y), (x + length, y)], (*light.horizon, 40 + round(40 * depth)), 1 + 1.6 * depth)


def _house(canvas: Canvas, rng: random.Random, light: Light, corner: Point, size: tuple[float, float]) -> None:
    """Paints a gabled house with lit windows; `corner` is its lower left, `size` its width and height."""
    (x, base), (width, tall) = corner, size
    wall = mix(
        rng.choice([(186, 92, 76), (214, 178, 128), (116, 138, 158), (198, 204, 196), (150, 84, 100)]), light.near, 0.45
    )
    canvas.box(x, base - tall, x + width, base, wall)
    canvas.polygon(
        [(x - 6, base - tall), (x + width / 2, base - tall - width * 0.42), (x + width + 6, base - tall)],
        mix(wall, (20, 16, 30), 0.55),
    )
    columns = max(1, int(width // 30))
    for column in range(columns):
        for floor in range(max(1, int(tall // 46))):
            lit = rng.random() < 0.6
            left, top = x + (column + 0.5) * width / columns - 7, base - tall + 14 + floor * 44
            canvas.box(left, top, left + 14, top + 20, light.lamp if lit else mix(wall, light.near, 0.6), radius=2)


def _lamp(canvas: Canvas, light: Light, x: float, base: float, tall: float = 150) -> None:
    """Paints a street lamp and its light."""
    canvas.line([(x, base), (x, base - tall)], mix(light.near, (0, 0, 0), 0.4), 5)
    canvas.glow(x, base - tall, 90, light.lamp, 0.75)
    canvas.disc(x, base - tall, 9, light.lamp)


def _tree(canvas: Canvas, rng: random.Random, foot: Point, tall: float, colour: Colour) -> None:
    """Paints a fir that stands at `foot`."""
    x, base = foot
    canvas.box(x - 3, base - tall * 0.2, x + 3, base, mix(colour, (40, 26, 20), 0.5))
    for step in range(4):
        top, wide = base - tall * (1 - step * 0.2), tall * (0.1 + 0.07 * step) * rng.uniform(0.9, 1.1)
        canvas.polygon([(x, top), (x - wide, top + tall * 0.34), (x + wide, top + tall * 0.34)], colour)


def _room(canvas: Canvas, wall: Colour, floor: Colour, edge: float = 520) -> None:
    """Paints a wall and a floor of boards that run towards the viewer."""
    canvas.gradient(0, edge, mix(wall, (0, 0, 0), 0.35), wall)
    canvas.gradient(edge, HEIGHT, mix(floor, (0, 0, 0), 0.15), mix(floor, (0, 0, 0), 0.5))
    for foot in range(-900, 2300, 150):
        canvas.line(
            [(WIDTH / 2 + (foot - WIDTH / 2) * 0.55, edge), (foot, HEIGHT)], (*mix(floor, (0, 0, 0), 0.55), 150), 2
        )
    canvas.box(0, edge - 10, WIDTH, edge, mix(wall, (0, 0, 0), 0.5))


def _harbour(canvas: Canvas, rng: random.Random, light: Light) -> None:
    _sky(canvas, rng, light, 330)
    _hills(canvas, rng, 332, 130, light.far)
    _hills(canvas, rng, 334, 70, mix(light.far, light.near, 0.6))
    _sea(canvas, rng, light, 332)
    x = 0.0
    while x < 460:
        width = rng.uniform(56, 92)
        _house(canvas, rng, light, (x, 372), (width, rng.uniform(60, 120)))
        x += width + 4
    canvas.polygon([(0, 372), (500, 372), (560, 392), (0, 392)], mix(light.near, (120, 100, 90), 0.35))
    deck = mix(light.near, (140, 104, 76), 0.5)
    canvas.polygon([(760, 468), (1280, 420), (1280, 500), (740, 500)], deck)
    for post in range(770, 1280, 70):
        canvas.box(post, 480, post + 13, 560, mix(deck, (0, 0, 0), 0.45))
    for bollard in (800, 930, 1060, 1190):
        canvas.box(
            bollard,
            432 - (bollard - 800) * 0.06,
            bollard + 18,
            470 - (bollard - 800) * 0.06,
            mix(deck, (0, 0, 0), 0.6),
            radius=5,
        )
    for x in (880, 1120):
        _lamp(canvas, light, x, 450)
    _moored(canvas, rng, light, rng.uniform(560, 660), 420)


def _moored(canvas: Canvas, rng: random.Random, light: Light, x: float, y: float) -> None:
    """Paints a fishing boat at its mooring."""
    hull = rng.choice([(176, 62, 58), (44, 92, 128), (58, 116, 92), (196, 148, 66)])
    canvas.polygon([(x - 70, y - 16), (x + 84, y - 22), (x + 62, y + 16), (x - 54, y + 16)], hull)
    canvas.polygon([(x - 60, y + 8), (x + 66, y + 6), (x + 62, y + 16), (x - 54, y + 16)], mix(hull, (0, 0, 0), 0.4))
    canvas.box(x - 30, y - 52, x + 14, y - 18, (232, 228, 214), radius=3)
    canvas.box(x - 22, y - 46, x - 6, y - 32, light.lamp, radius=2)
    canvas.line([(x + 24, y - 20), (x + 24, y - 110)], (60, 48, 44), 3)
    canvas.line([(x + 24, y - 108), (x + 80, y - 22)], (60, 48, 44, 160), 1)
    canvas.line([(x + 24, y - 108), (x - 66, y - 18)], (60, 48, 44, 160), 1)
    canvas.disc(x, y + 26, 78, (0, 0, 0, 50), 0.12)


def _market(canvas: Canvas, rng: random.Random, light: Light) -> None:
    _room(canvas, mix((150, 132, 112), light.far, 0.35), (150, 120, 92), 500)
    for x in range(40, WIDTH, 200):
        canvas.slice(x + 80, 190, 80, (180, 360), mix(light.horizon, (255, 255, 255), 0.35))
        canvas.box(x, 190, x + 160, 300, mix(light.horizon, (255, 255, 255), 0.2))
        for bar in (40, 80, 120):
            canvas.box(x + bar - 2, 112, x + bar + 2, 300, (62, 70, 74))
        canvas.box(x + 172, 0, x + 188, 500, (70, 84, 86))
    for bulb in range(17):
        x, y = bulb * 80, 64 + 26 * math.cos(bulb * math.pi / 4)
        canvas.line([(x, y), (x + 80, 64 + 26 * math.cos((bulb + 1) * math.pi / 4))], (40, 40, 44), 2)
        canvas.glow(x, y + 6, 34, light.lamp, 0.8)
        canvas.disc(x, y + 8, 7, mix(light.lamp, (255, 255, 255), 0.4))
    for stall, left in enumerate((60, 480, 900)):
        first = rng.choice([(190, 62, 56), (44, 110, 132), (64, 122, 78), (206, 144, 58), (120, 76, 128)])
        for stripe in range(8):
            near, far = left + stripe * 42, left + 20 + stripe * 37
            colour = first if stripe % 2 else (240, 232, 214)
            canvas.polygon([(far, 300), (far + 37, 300), (near + 42, 356), (near, 356)], colour)
            canvas.slice(near + 21, 355, 21, (0, 180), colour)
        canvas.box(left + 10, 376, left + 18, 470, (84, 60, 44))
        canvas.box(left + 318, 376, left + 326, 470, (84, 60, 44))
        canvas.box(left, 446, left + 336, 540, mix(first, (60, 44, 34), 0.7))
        for crate in range(5):
            goods = rng.choice(
                [(208, 74, 60), (226, 170, 70), (120, 160, 82), (232, 214, 160), (150, 168, 190), (186, 120, 160)]
            )
            x = left + 8 + crate * 65
            canvas.box(x, 430, x + 60, 456, (140, 100, 66), radius=3)
            for item in range(9):
                canvas.disc(
                    x + 8 + item % 5 * 11, 430 - item // 5 * 8, 8, mix(goods, (255, 255, 255), rng.uniform(0, 0.25))
                )
        canvas.glow(left + 168, 330, 170, light.lamp, 0.28 if stall else 0.4)


def _bakery(canvas: Canvas, rng: random.Random, light: Light) -> None:
    _room(canvas, mix((168, 104, 74), light.near, 0.3), (122, 92, 72), 530)
    brick = mix((158, 84, 62), light.near, 0.25)
    for row in range(13):
        for column in range(-1, 12):
            x, y = 420 + column * 62 + row % 2 * 31, 40 + row * 38
            if 420 <= x + 29 <= 1160:
                canvas.box(x, y, x + 58, y + 34, mix(brick, (240, 190, 150), rng.uniform(0, 0.16)), radius=3)
    canvas.slice(790, 360, 200, (180, 360), (66, 46, 42))
    canvas.box(590, 358, 990, 470, (66, 46, 42))
    canvas.slice(790, 360, 168, (180, 360), (30, 16, 16))
    canvas.box(622, 358, 958, 452, (30, 16, 16))
    canvas.glow(790, 440, 230, (255, 132, 44), 0.95)
    for loaf in range(5):
        x = 660 + loaf * 64
        canvas.disc(x, 436, 30, mix((196, 120, 58), (236, 176, 96), rng.random()), 0.55)
        canvas.line([(x - 10, 428), (x + 8, 438)], (120, 68, 34), 2)
    canvas.box(560, 470, 1020, 492, (92, 70, 60), radius=4)
    for shelf in range(3):
        y = 180 + shelf * 110
        canvas.box(40, y, 380, y + 12, (104, 72, 48))
        for loaf in range(6):
            colour = mix((182, 108, 50), (232, 182, 110), rng.random())
            canvas.disc(72 + loaf * 54 + rng.uniform(-5, 5), y - 14, 25, colour, 0.62)
    for lamp in (250, 1090):
        canvas.line([(lamp, 0), (lamp, 90)], (40, 30, 28), 3)
        canvas.polygon([(lamp - 36, 120), (lamp + 36, 120), (lamp + 12, 86), (lamp - 12, 86)], (52, 66, 70))
        canvas.glow(lamp, 130, 190, (255, 214, 140), 0.6)


def _observatory(canvas: Canvas, rng: random.Random, light: Light) -> None:
    dark = Light(
        mix(light.sky, (6, 8, 30), 0.6),
        mix(light.horizon, (40, 50, 100), 0.65),
        light.far,
        light.near,
        light.lamp,
        light.disc,
        True,
    )
    _sky(canvas, rng, dark, 560)
    for _ in range(260):
        share = rng.gauss(0.5, 0.35)
        x, y = share * WIDTH, 420 - share * 380 + rng.gauss(0, 42)
        if y < 540:
            canvas.disc(x, y, rng.uniform(0.4, 1.3), (*dark.disc, rng.randrange(50, 190)))
    _hills(canvas, rng, 600, 150, mix(dark.far, dark.near, 0.5))
    canvas.box(0, 520, WIDTH, HEIGHT, mix(dark.near, (0, 0, 0), 0.35))
    x = rng.choice([420, 760])
    white = mix((214, 218, 226), dark.sky, 0.3)
    canvas.box(x - 150, 360, x + 150, 540, mix(white, (0, 0, 0), 0.18))
    canvas.slice(x, 362, 164, (180, 360), white)
    canvas.slice(x, 362, 164, (285, 302), (20, 22, 40))
    canvas.polygon([(x + 30, 330), (x + 52, 338), (x + 104, 196), (x + 84, 188)], (150, 158, 172))
    canvas.box(x - 170, 352, x + 170, 370, mix(white, (0, 0, 0), 0.35), radius=3)
    canvas.box(x - 28, 450, x + 28, 540, (58, 44, 40), radius=4)
    canvas.glow(x, 440, 110, dark.lamp, 0.7)
    for window in (-100, 84):
        canvas.box(x + window, 420, x + window + 26, 456, dark.lamp, radius=3)
    for _ in range(26):
        _tree(
            canvas,
            rng,
            (rng.uniform(0, WIDTH), rng.uniform(545, 575)),
            rng.uniform(60, 130),
            mix(dark.near, (0, 12, 10), 0.55),
        )


def _museum(canvas: Canvas, rng: random.Random, light: Light) -> None:
    _room(
        canvas,
        mix(rng.choice([(96, 58, 62), (58, 82, 84), (82, 74, 108), (92, 92, 64)]), light.near, 0.25),
        (148, 116, 84),
        520,
    )
    for x in (110, 350, 870, 1110):
        canvas.box(x - 92, 130, x + 92, 330, (176, 138, 70), radius=4)
        canvas.box(x - 80, 142, x + 80, 318, mix(light.sky, light.horizon, 0.4))
        _sketch(canvas, rng, light, x, 230)
        canvas.glow(x, 150, 150, (255, 236, 190), 0.35)
    canvas.polygon([(520, 0), (760, 0), (880, 520), (400, 520)], (255, 240, 200, 20))
    canvas.box(530, 396, 750, 540, (206, 200, 188))
    canvas.box(514, 384, 766, 402, (226, 220, 208), radius=3)
    _treasure(canvas, rng, 640, 384)
    canvas.box(540, 200, 740, 384, (220, 240, 250, 26), radius=4)
    canvas.line([(540, 200), (740, 200), (740, 384), (540, 384), (540, 200)], (230, 244, 250, 110), 2)
    for x in (440, 840):
        canvas.box(x - 4, 460, x + 4, 560, (190, 156, 84), radius=3)
        canvas.disc(x, 456, 9, (214, 180, 100))
    canvas.line([(440, 470), (540, 508), (640, 516), (740, 508), (840, 470)], (150, 40, 48), 7)


def _sketch(canvas: Canvas, rng: random.Random, light: Light, x: float, y: float) -> None:
    """Paints a small sea piece into a frame."""
    canvas.box(x - 80, y + 26, x + 80, y + 88, mix(light.sky, (20, 60, 90), 0.5))
    canvas.disc(x + rng.uniform(-50, 50), y - 40, 16, light.disc)
    mast = x + rng.uniform(-34, 34)
    canvas.polygon([(mast - 30, y + 26), (mast + 30, y + 26), (mast + 20, y + 42), (mast - 22, y + 42)], (60, 40, 36))
    canvas.polygon([(mast, y - 44), (mast, y + 22), (mast + 32, y + 22)], (240, 232, 214))
    canvas.polygon([(mast - 4, y - 30), (mast - 4, y + 22), (mast - 28, y + 22)], (226, 210, 186))


def _treasure(canvas: Canvas, rng: random.Random, x: float, base: float) -> None:
    """Paints what stands in the glass case."""
    gold = mix((206, 162, 74), (150, 96, 60), rng.random())
    shape = rng.randrange(3)
    if shape == 0:
        canvas.disc(x, base - 76, 62, gold)
        canvas.disc(x, base - 76, 52, (236, 228, 206))
        canvas.line([(x, base - 76), (x, base - 116)], (40, 34, 34), 4)
        canvas.line([(x, base - 76), (x + 28, base - 62)], (40, 34, 34), 4)
        canvas.box(x - 50, base - 16, x + 50, base, gold, radius=4)
    elif shape == 1:
        canvas.line([(x, base - 140), (x, base - 16)], gold, 12)
        canvas.line([(x - 36, base - 112), (x + 36, base - 112)], gold, 10)
        canvas.line(
            [(x - 62, base - 56), (x - 36, base - 22), (x, base - 10), (x + 36, base - 22), (x + 62, base - 56)],
            gold,
            12,
        )
        canvas.disc(x, base - 148, 14, gold)
    else:
        canvas.polygon([(x - 20, base), (x + 20, base), (x + 10, base - 30), (x - 10, base - 30)], (110, 76, 48))
        canvas.disc(x, base - 84, 56, (86, 138, 160))
        canvas.slice(x, base - 84, 56, (200, 290), (160, 176, 106))
        canvas.slice(x, base - 84, 56, (20, 80), (176, 160, 96))
        canvas.line([(x - 58, base - 50), (x, base - 24), (x + 58, base - 50)], gold, 6)


def _lighthouse(canvas: Canvas, rng: random.Random, light: Light) -> None:
    _sky(canvas, rng, light, 400)
    _hills(canvas, rng, 402, 60, light.far)
    _sea(canvas, rng, light, 400)
    x = rng.choice([430, 820])
    canvas.polygon([(x, 190), (x - 1300, 10), (x - 1300, 170)], (*light.lamp, 46))
    canvas.polygon([(x, 190), (x + 1300, 120), (x + 1300, 300)], (*light.lamp, 46))
    rock = mix(light.near, (70, 66, 70), 0.4)
    canvas.polygon(
        [(x - 420, 560), (x - 260, 470), (x - 120, 440), (x + 130, 436), (x + 260, 486), (x + 430, 560)], rock
    )
    canvas.polygon([(x - 120, 440), (x + 130, 436), (x + 60, 500), (x - 60, 520)], mix(rock, (255, 255, 255), 0.12))
    paint = rng.choice([(196, 60, 56), (36, 76, 110), (40, 40, 46)])
    for band in range(6):
        top, low = 216 + band * 38, 254 + band * 38
        wide = (34 + band * 4.2, 38.2 + band * 4.2)
        colour = paint if band % 2 == 0 else (238, 234, 224)
        canvas.polygon([(x - wide[0], top), (x + wide[0], top), (x + wide[1], low), (x - wide[1], low)], colour)
        canvas.polygon(
            [(x + wide[0] * 0.3, top), (x + wide[0], top), (x + wide[1], low), (x + wide[1] * 0.3, low)], (0, 0, 0, 46)
        )
    canvas.box(x - 46, 206, x + 46, 218, (44, 44, 52), radius=3)
    canvas.box(x - 24, 168, x + 24, 206, light.lamp, radius=3)
    canvas.polygon([(x - 34, 170), (x + 34, 170), (x, 128)], mix(paint, (0, 0, 0), 0.25))
    canvas.glow(x, 188, 150, light.lamp, 0.9)
    canvas.box(x - 12, 410, x + 12, 444, (60, 42, 38), radius=4)
    _house(canvas, rng, light, (x + 90, 452), (110, 52))


def _tram(canvas: Canvas, rng: random.Random, light: Light) -> None:
    _sky(canvas, rng, light, 420)
    _hills(canvas, rng, 420, 200, light.far)
    x = -10.0
    while x < WIDTH:
        width = rng.uniform(80, 140)
        _house(canvas, rng, light, (x, 470), (width, rng.uniform(110, 210)))
        x += width + 2
    canvas.gradient(466, HEIGHT, mix(light.near, (120, 112, 108), 0.45), mix(light.near, (20, 20, 26), 0.5))
    for rail in (520, 548):
        canvas.line([(0, rail), (WIDTH, rail)], (190, 190, 196), 3)
    canvas.line([(0, 232), (WIDTH, 226)], (30, 30, 36), 2)
    for post in (150, 640, 1130):
        canvas.line([(post, 480), (post, 214)], (44, 50, 54), 6)
        canvas.line([(post, 226), (post + 70, 226)], (44, 50, 54), 4)
    left, colour = rng.choice([180, 560]), rng.choice([(188, 56, 52), (40, 104, 88), (206, 154, 60), (48, 84, 136)])
    canvas.disc(left + 240, 538, 250, (0, 0, 0, 70), 0.05)
    canvas.box(left, 340, left + 480, 524, colour, radius=18)
    canvas.box(left, 340, left + 480, 366, mix(colour, (255, 255, 255), 0.75), radius=12)
    canvas.box(left, 446, left + 480, 456, (244, 232, 200))
    for window in range(6):
        canvas.box(
            left + 22 + window * 76, 376, left + 80 + window * 76, 434, mix(light.lamp, (255, 255, 255), 0.2), radius=6
        )
    for wheel in (70, 140, 340, 410):
        canvas.disc(left + wheel, 526, 18, (34, 34, 40))
    canvas.line([(left + 230, 340), (left + 270, 290), (left + 230, 232)], (40, 40, 46), 4)
    canvas.glow(left + 476, 490, 80, light.lamp, 0.8)


def _glasshouse(canvas: Canvas, rng: random.Random, light: Light) -> None:
    canvas.gradient(0, 540, mix(light.horizon, (226, 246, 232), 0.6), mix(light.far, (150, 190, 150), 0.6))
    canvas.gradient(540, HEIGHT, (110, 92, 70), (60, 50, 40))
    frame = (236, 242, 238)
    for beam in range(-40, WIDTH + 80, 120):
        canvas.line([(beam, 540), (beam, 170), (WIDTH / 2, -260)], frame, 5)
    for bar in (170, 290, 410):
        canvas.line([(0, bar), (WIDTH, bar)], frame, 4)
    for _ in range(60):
        x, base, tall = rng.uniform(-40, WIDTH + 40), rng.uniform(500, 560), rng.uniform(90, 330)
        green = mix((34, 92, 60), (128, 176, 84), rng.random())
        for leaf in range(7):
            angle = math.radians(-90 + (leaf - 3) * rng.uniform(16, 26))
            tip = (x + math.cos(angle) * tall * 0.6, base - tall * 0.45 + math.sin(angle) * tall * 0.55)
            middle = (
                x + math.cos(angle - 0.25) * tall * 0.34,
                base - tall * 0.45 + math.sin(angle - 0.25) * tall * 0.34,
            )
            other = (
                x + math.cos(angle + 0.25) * tall * 0.34,
                base - tall * 0.45 + math.sin(angle + 0.25) * tall * 0.34,
            )
            canvas.polygon([(x, base - tall * 0.3), middle, tip, other], mix(green, (0, 30, 20), leaf * 0.05))
        canvas.line([(x, base), (x, base - tall * 0.4)], mix(green, (60, 40, 20), 0.6), 5)
        if rng.random() < 0.5:
            bloom = rng.choice([(232, 92, 128), (246, 196, 84), (244, 240, 246), (172, 110, 200)])
            for petal in range(5):
                canvas.disc(
                    x + 11 * math.cos(petal * 1.257), base - tall * 0.45 + 11 * math.sin(petal * 1.257), 9, bloom
                )
            canvas.disc(x, base - tall * 0.45, 6, (250, 220, 120))
    canvas.polygon([(520, 560), (760, 560), (1000, 720), (280, 720)], (206, 190, 160))


_PAINTERS: dict[str, Painter] = {
    "harbour": _harbour,
    "market": _market,
    "bakery": _bakery,
    "observatory": _observatory,
    "museum": _museum,
    "lighthouse": _lighthouse,
    "tram": _tram,
    "glasshouse": _glasshouse,
}


@functools.lru_cache(maxsize=1)
def paint(topic: str, look: int) -> Canvas:
    """Returns the picture of a place of a topic; the same `look` gives the same one, not to be drawn on."""
    rng = random.Random(look)
    canvas = Canvas()
    _PAINTERS[topic](canvas, rng, rng.choice(LIGHTS))
    return canvas
