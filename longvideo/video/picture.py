"""Turns a decoded picture into a JPEG of the wanted size, upright and in square pixels."""

from __future__ import annotations

import av.video.frame
import numpy as np
import simplejpeg
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from longvideo.video.demux import MAX_SIDE

# At this quality text stays crisp, and a picture of 1024 pixels takes about 100 kB.
JPEG_QUALITY = 88
# ITU-T H.273: the value of matrix_coefficients that means "unspecified".
_UNSPECIFIED = 2
# Pictures at least this high come from the world of BT.709, smaller ones from BT.601, when the stream does not say.
_HIGH_DEFINITION = 720


def fit(width: int, height: int, longest_side: int) -> tuple[int, int]:
    """Returns the size of a picture scaled down until its longer side is `longest_side`; never larger than it is.

    No side is longer than 16384 pixels, whatever is asked for.
    """
    scale = min(1.0, min(longest_side, MAX_SIDE) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


class Painter:
    """Makes JPEGs of one size and orientation. Keeps a scaler, so each thread has its own."""

    def __init__(self, width: int, height: int, orientation: int) -> None:
        self.width = width
        self.height = height
        self._orientation = orientation
        self._scaler = VideoReformatter()

    def paint(self, picture: av.video.frame.VideoFrame) -> bytes:
        """Returns a decoded picture as JPEG. Raises PyAV's errors for a picture that cannot be scaled."""
        swapped = bool(self._orientation & 1)
        width, height = (self.height, self.width) if swapped else (self.width, self.height)
        # Averaging is faster and free of moire when shrinking a lot; cubic keeps small letters sharper otherwise.
        shrinks = picture.width >= 2 * width
        guess = Colorspace.ITU709 if picture.height >= _HIGH_DEFINITION else Colorspace.ITU601
        scaled = self._scaler.reformat(
            picture,
            width,
            height,
            "rgb24",
            src_colorspace=guess if picture.colorspace == _UNSPECIFIED else None,
            interpolation=Interpolation.AREA if shrinks else Interpolation.BICUBIC,
            threads=1,
        )
        pixels = scaled.to_ndarray()
        if swapped:
            pixels = pixels.transpose(1, 0, 2)
        if self._orientation & 2:
            pixels = pixels[:, ::-1]
        if self._orientation & 4:
            pixels = pixels[::-1]
        jpeg: bytes = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="420"
        )
        return jpeg
