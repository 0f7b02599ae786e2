"""How frames look: brightness, colours and cuts, in words."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from offline_models.sameness import CUT_DIFFERENCE, THUMBNAIL

MAX_CUTS_NAMED = 8


@dataclass(frozen=True)
class Look:
    """How one frame looks: its time in seconds, a thumbnail (BGR), and its brightness and main colour in words."""

    time: float
    thumbnail: npt.NDArray[np.uint8]
    brightness: str
    colour: str


def look_of(data: bytes, time: float) -> Look:
    """Returns how an encoded frame looks."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_4)
    if image is None:
        image = np.zeros((1, 1, 3), np.uint8)
    small = np.asarray(cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
    hue, saturation, value = (channel.ravel() for channel in cv2.split(cv2.cvtColor(small, cv2.COLOR_BGR2HSV)))
    mean = float(value.mean())
    brightness = "dark" if mean < 70 else "bright" if mean > 175 else "of medium brightness"
    names = Counter(_colour(int(h), int(s), int(v)) for h, s, v in zip(hue, saturation, value, strict=True))
    return Look(time, small, brightness, names.most_common(1)[0][0])


def _colour(hue: int, saturation: int, value: int) -> str:
    """Names a colour. OpenCV's hue goes from 0 to 179."""
    if value < 40:
        return "black"
    if saturation < 45:
        return "white" if value > 200 else "grey"
    for limit, name in ((8, "red"), (20, "orange"), (34, "yellow"), (85, "green"), (100, "turquoise"), (130, "blue")):
        if hue < limit:
            return "brown" if name == "orange" and value < 150 else name
    return "violet" if hue < 150 else "pink" if hue < 170 else "red"


def describe_looks(looks: Sequence[Look]) -> list[str]:
    """Returns sentences about colours and cuts."""
    if not looks:
        return []
    total = Counter((look.brightness, look.colour) for look in looks).most_common(2)
    sentences = [
        "The picture is mostly " + ", then ".join(f"{bright} and {colour}" for (bright, colour), _ in total) + "."
    ]
    cuts = [
        after.time
        for before, after in itertools.pairwise(looks)
        if float(cv2.absdiff(before.thumbnail, after.thumbnail).mean()) > CUT_DIFFERENCE
    ]
    if cuts:
        more = f" and {len(cuts) - MAX_CUTS_NAMED} times more" if len(cuts) > MAX_CUTS_NAMED else ""
        listed = ", ".join(f"{time:.1f} s" for time in cuts[:MAX_CUTS_NAMED])
        sentences.append(f"The picture changes at {listed}{more}.")
    return sentences
