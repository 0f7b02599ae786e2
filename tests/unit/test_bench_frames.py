"""What the comparison of frame readers rests on: the numbers on its pictures, and the frames that it asks for."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from bench.frames.tasks import TASKS
from bench.frames.videos import BITS, BLOCK, HEIGHT, HOURS_PERIODS, PERIOD, WIDTH, number_on, stamped


@pytest.mark.parametrize("side", [1280, 1024, 512, 362, 256])
def test_the_barcode_is_read_at_every_size(side: int) -> None:
    """The number of a frame is read off its picture, scaled and as JPEG, over a background of noise."""
    random = np.random.default_rng(1)
    for number in (0, 1, 1234, PERIOD - 1, 2**BITS - 1):
        picture = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        scaled = np.asarray(Image.fromarray(stamped(picture, number)).resize((side, round(side * HEIGHT / WIDTH))))
        jpeg = simplejpeg.encode_jpeg(scaled, quality=88)
        assert number_on(simplejpeg.decode_jpeg(jpeg)) == number


def test_a_mixture_of_frames_is_no_number() -> None:
    """A picture half-way between two frames, or without a barcode, is not taken for either."""
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    assert number_on(grey) == -1
    mixed = (stamped(grey.copy(), 5).astype(np.int64) + stamped(grey.copy(), 10)) // 2
    assert number_on(mixed) == -1
    assert BLOCK * 2 * BITS <= WIDTH


def test_the_tasks_lie_within_the_hour() -> None:
    """Every task asks for as many frames as it says, in order, and all of them exist."""
    for tasks in TASKS.values():
        for task in tasks:
            frames = task.frames()
            assert len(frames) == task.count
            assert frames == sorted(frames)
            assert 0 <= frames[0] <= frames[-1] < HOURS_PERIODS * PERIOD
