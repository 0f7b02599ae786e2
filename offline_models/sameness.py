"""Whether pictures, and the writing on them, are the same: cheap arithmetic that saves reading."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

# Two frames are the same when no block of 8 × 8 pixels differs by more than this on average, of 255 ...
BLOCK_DIFFERENCE = 11.0
# ... and no block of 4 × 4 by more than this: one changed digit in small print. Compression noise stays below both.
FINE_DIFFERENCE = 30.0
# Mean difference of small thumbnails (of 255) from which two frames are different pictures.
CUT_DIFFERENCE = 22.0
# A sign or panel has come into the picture when this share of the thumbnail differs by more than this.
LOCAL_DIFFERENCE = 35
LOCAL_SHARE = 0.03
# Writing is the same while its strokes correlate at least this much, letter by letter, also over a moving background.
STROKE_CORRELATION = 0.93
# A letter's place has strokes when its mean gradient is above this.
STROKE_ENERGY = 12.0
THUMBNAIL = (32, 18)


def alike(one: Grey, other: Grey) -> bool:
    """Tells whether two grey frames show the same, down to a few changed letters of small print."""
    if one.shape != other.shape:
        return False
    difference = cv2.absdiff(one, other)
    height, width = difference.shape
    for side, limit in ((8, BLOCK_DIFFERENCE), (4, FINE_DIFFERENCE)):
        size = (max(1, width // side), max(1, height // side))
        if cv2.resize(difference, size, interpolation=cv2.INTER_AREA).max() > limit:
            return False
    return True


def cut_between(one: Grey, other: Grey) -> bool:
    """Tells whether two frames are different pictures, or something sizeable has come into or gone out of one."""
    small = [cv2.resize(frame, THUMBNAIL, interpolation=cv2.INTER_AREA) for frame in (one, other)]
    difference = cv2.absdiff(small[0], small[1])
    return float(difference.mean()) > CUT_DIFFERENCE or float((difference > LOCAL_DIFFERENCE).mean()) > LOCAL_SHARE


@dataclass(frozen=True)
class Surface:
    """A grey frame, and how steep it is at each pixel: letters stand out there, smooth backgrounds vanish."""

    grey: Grey
    strokes: npt.NDArray[np.float32]

    @classmethod
    def of(cls, grey: Grey) -> Surface:
        """Returns the surface of a frame."""
        across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
        return cls(grey, np.asarray(cv2.magnitude(across, down), np.float32))


def same_writing(one: Surface, other: Surface, box: Boxes) -> bool:
    """Tells whether the same letters stand in a box (4 × x, y) of two frames, perhaps over a moving background."""
    left, top = np.maximum(np.floor(box.min(axis=0)), 0).astype(int)
    right, bottom = np.ceil(box.max(axis=0)).astype(int)
    area = (slice(top, bottom), slice(left, right))
    if one.grey[area].shape != other.grey[area].shape or not one.grey[area].size:
        return False
    return alike(one.grey[area], other.grey[area]) or _same_strokes(one.strokes[area], other.strokes[area])


def _same_strokes(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> bool:
    # A box is somewhat taller than its letters, and a letter about half as wide as tall.
    width = max(4, first.shape[0] // 2)
    for start in range(0, max(1, first.shape[1] - width // 2), max(2, width // 2)):
        mine, theirs = first[:, start : start + width], second[:, start : start + width]
        if max(mine.mean(), theirs.mean()) < STROKE_ENERGY:
            continue
        mine, theirs = mine - mine.mean(), theirs - theirs.mean()
        scale = float(np.sqrt((mine * mine).sum() * (theirs * theirs).sum()))
        if scale <= 0 or float((mine * theirs).sum()) / scale < STROKE_CORRELATION:
            return False
    return True
