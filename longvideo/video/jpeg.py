"""Reads how large a JPEG is, without decoding it."""

from __future__ import annotations

from typing import Final

# ITU-T T.81, table B.1: the headers of pictures that are not lossless, hierarchical or arithmetically coded.
_FRAME_HEADERS: Final = {0xC0, 0xC1, 0xC2}
_START, _END = b"\xff\xd8", b"\xff\xd9"


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Returns width and height. Raises ValueError for what is not one JPEG from its first byte to its last."""
    if not (data.startswith(_START) and data.endswith(_END)):
        raise ValueError("these bytes are no JPEG")
    at = 2
    while len(data) >= at + 9 and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] in _FRAME_HEADERS:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 2 + max(2, length)
    raise ValueError("this JPEG says no size")
