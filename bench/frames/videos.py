"""Makes the video that is measured: an hour of 720p H.264 whose frames carry their number as a barcode.

It is what x264 makes of its input when nobody tells it more than a bit rate: keyframes at cuts and at most 250 frames
apart, up to three B-frames in a row, of which the middle one is referred to, three reference frames. About half of the
frames are then non-reference frames, which a reader need not decode; the comparison prints the exact shares.

Two minutes are drawn and encoded, and their packets are then repeated, so that an hour takes a few minutes to make. A
barcode therefore counts from 0 to 3599 again and again; a frame that is wrong by an exact multiple of two minutes
would go unnoticed, every other mistake shows.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT, FPS = 1280, 720, 30
PERIOD = 120 * FPS
HOURS_PERIODS = 30
# Sixteen bits and their complements, as blocks of 40 x 40 pixels in the first row.
BITS, BLOCK = 16, 40
# About what sites that serve films encode 720p with.
BITRATE = 1_870_000
# Scenes last this long in seconds; the encoder puts a keyframe at each cut, and sees some more.
_SCENE_SECONDS = (10.0, 50.0)


def make(directory: Path, periods: int = HOURS_PERIODS) -> Path:
    """Returns the path of the video, made now unless it is there. Takes a few minutes the first time."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"h264-720p-{periods * PERIOD // FPS}s-3.mp4"
    if not path.exists():
        base = directory / "h264-720p-base-3.mp4"
        if not base.exists():
            _encode(directory / "base.part")
            (directory / "base.part").rename(base)
        _repeat(base, directory / "whole.part", periods)
        (directory / "whole.part").rename(path)
    return path


def number_on(pixels: npt.NDArray[Any]) -> int:
    """Returns the number that the barcode of an RGB picture of any size says, or -1 when it cannot be read."""
    height, width = pixels.shape[:2]
    row = min(height - 1, round(BLOCK / 2 * height / HEIGHT))
    columns = ((np.arange(2 * BITS) + 0.5) * BLOCK * width / WIDTH).astype(int)
    levels = pixels[row][columns].astype(np.int64).mean(axis=1)
    difference = levels[:BITS] - levels[BITS:]
    if np.abs(difference).min() < 60:
        return -1
    return int("".join("1" if value > 0 else "0" for value in difference), 2)


def _encode(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.bit_rate = BITRATE
        # PyAV would cut every frame into a slice for each of this machine's processors.
        stream.options = {"x264-params": "sliced-threads=0"}
        for number, picture in enumerate(_pictures()):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _pictures() -> Any:
    random = np.random.default_rng(20)
    grain = random.integers(-6, 7, (8, HEIGHT, WIDTH, 1), dtype=np.int16)
    number = 0
    while number < PERIOD:
        length = min(PERIOD - number, int(random.uniform(*_SCENE_SECONDS) * FPS))
        scene = _Scene(random)
        for step in range(length):
            picture = np.clip(scene.at(step) + grain[number % 8], 0, 255).astype(np.uint8)
            yield stamped(picture, number)
            number += 1


class _Scene:
    """A textured background that pans, and shapes that move over it."""

    def __init__(self, random: np.random.Generator) -> None:
        height, width = HEIGHT * 3 // 2, WIDTH * 3 // 2
        background = np.zeros((height, width, 3))
        # Like pictures of the world: each finer octave of detail has half the contrast.
        for octave in range(6):
            grid = random.integers(0, 256, (24 << octave, 36 << octave, 3), dtype=np.uint8)
            wide = av.VideoFrame.from_ndarray(grid, "rgb24").reformat(width, height, "rgb24", interpolation="BICUBIC")
            background += (wide.to_ndarray() - 127.5) * 0.75 / 2**octave
        self._background = np.clip(background + 127.5, 0, 255).astype(np.int16)
        self._pan = random.uniform(-1.5, 1.5, 2)
        self._places = random.uniform(0.1, 0.9, (6, 2)) * (HEIGHT, WIDTH)
        self._speeds = random.uniform(-6, 6, (6, 2))
        self._sizes = random.integers(30, 160, (6, 2))
        self._colours = random.integers(0, 256, (6, 3)).astype(np.int16)

    def at(self, step: int) -> npt.NDArray[np.int16]:
        top, left = ((HEIGHT, WIDTH) * np.array(0.25) + self._pan * step).astype(int) % (HEIGHT // 2, WIDTH // 2)
        picture = self._background[top : top + HEIGHT, left : left + WIDTH].copy()
        for place, speed, size, colour in zip(self._places, self._speeds, self._sizes, self._colours, strict=True):
            y, x = (place + speed * step).astype(int) % (HEIGHT, WIDTH)
            picture[y : y + size[0], x : x + size[1]] = colour
        return picture


def stamped(picture: Pixels, number: int) -> Pixels:
    """Writes a number onto an RGB picture of full size, as a barcode, and returns the picture."""
    bits = [number >> (BITS - 1 - place) & 1 for place in range(BITS)]
    row = np.array([*bits, *(1 - bit for bit in bits)], np.uint8) * 255
    picture[:BLOCK, : 2 * BITS * BLOCK] = np.repeat(row, BLOCK)[None, :, None]
    return picture


def _repeat(base: Path, path: Path, periods: int) -> None:
    with av.open(str(path), "w", format="mp4", container_options={"movflags": "faststart"}) as output:
        copy: Any = None
        for period in range(periods):
            with av.open(str(base)) as source:
                stream = source.streams.video[0]
                copy = copy or output.add_stream_from_template(stream)
                assert stream.time_base is not None
                shift = round(period * PERIOD / FPS / stream.time_base)
                for packet in source.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = (packet.pts or 0) + shift, packet.dts + shift
                    packet.stream = copy
                    output.mux(packet)
