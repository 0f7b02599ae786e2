"""How large a JPEG is, told from its headers."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longvideo.video.jpeg import jpeg_size


@given(st.integers(1, 80), st.integers(1, 80))
def test_the_size_is_the_pictures(width: int, height: int) -> None:
    """Width and height are those of the picture, for every encoder and for progressive ones too."""
    pixels = np.zeros((height, width, 3), np.uint8)
    assert jpeg_size(simplejpeg.encode_jpeg(pixels)) == (width, height)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", progressive=True)
    assert jpeg_size(buffer.getvalue()) == (width, height)


@given(st.binary(max_size=60))
def test_anything_else_is_refused(data: bytes) -> None:
    """Bytes that are no JPEG give an error, wherever they stop to be one."""
    whole = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    for candidate in (data, whole[:20] + data, b"\xff\xd8" + data, b"\xff\xd8\xff" + data + b"\xff\xd9"):
        try:
            width, height = jpeg_size(candidate)
        except ValueError:
            continue
        assert 0 <= min(width, height) <= max(width, height) < 2**16


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"GIF89a"])
def test_a_jpeg_without_a_picture_has_no_size(data: bytes) -> None:
    """What has no frame header is refused."""
    with pytest.raises(ValueError, match="JPEG"):
        jpeg_size(data)
