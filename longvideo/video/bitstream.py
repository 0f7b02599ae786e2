"""Reads, from the first bytes of a coded picture, what other pictures may depend on it. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Bits of a packet's flags, as in `longvideo.video.demux`.
DISPOSABLE, INDEPENDENT = 8, 16


@dataclass(frozen=True)
class PictureClass:
    """What a packet's headers say.

    Attributes:
        disposable: No other picture of its temporal layer refers to it.
        layer: Its temporal layer, 0 for the lowest.
        independent: It comes before a keyframe in presentation and yet needs nothing from before it.
    """

    disposable: bool = False
    layer: int = 0
    independent: bool = False


class Classifier:
    """Classifies the packets of one stream. Codecs it cannot read get no class: all their pictures are needed."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._read = {
            "h264": self._h264,
            "hevc": self._hevc,
            "mpeg2video": self._mpeg2,
            "mpeg4": self._mpeg4,
        }.get(codec)
        # ISO/IEC 14496-15: with a configuration record, NAL units carry their length; else they follow start codes.
        self._length_size = 0
        if codec == "h264" and len(extradata) >= 7 and extradata[0] == 1:
            self._length_size = (extradata[4] & 3) + 1
        if codec == "hevc" and len(extradata) >= 23 and extradata[0] == 1:
            self._length_size = (extradata[21] & 3) + 1

    def classify(self, packet: memoryview) -> PictureClass:
        """Returns the class of one packet."""
        return self._read(packet) if self._read is not None else PictureClass()

    def _h264(self, packet: memoryview) -> PictureClass:
        # ITU-T H.264, 7.4.1: nal_ref_idc is 0 in every slice of a picture that is not used for reference.
        slices = [head[0] for head in self._units(packet) if head[0] & 0x1F in {1, 2, 5}]
        return PictureClass(disposable=bool(slices) and not any(head & 0x60 for head in slices))

    def _hevc(self, packet: memoryview) -> PictureClass:
        # ITU-T H.265, table 7-1: types below 16 with an even number are not used for reference in their own layer,
        # 6 and 7 are leading pictures that can be decoded from the keyframe alone.
        for head in self._units(packet):
            kind = head[0] >> 1 & 0x3F
            if kind < 32 and len(head) > 1:
                layer = max(0, (head[1] & 7) - 1)
                return PictureClass(kind < 16 and kind % 2 == 0, layer, kind in {6, 7})
        return PictureClass()

    def _mpeg2(self, packet: memoryview) -> PictureClass:
        # ISO/IEC 13818-2, 6.2.3: start code, 10 bits of order, 3 bits of type; type 3 is bidirectional.
        data = bytes(packet)
        at = data.find(b"\0\0\1\0")
        return PictureClass(disposable=at >= 0 and len(data) > at + 5 and data[at + 5] >> 3 & 7 == 3)

    def _mpeg4(self, packet: memoryview) -> PictureClass:
        # ISO/IEC 14496-2, 6.2.5: start code, 2 bits of type; type 2 is bidirectional. Two in a packet are left alone.
        data = bytes(packet)
        at = data.find(b"\0\0\1\xb6")
        alone = at >= 0 and data.find(b"\0\0\1\xb6", at + 4) < 0
        return PictureClass(disposable=alone and len(data) > at + 4 and data[at + 4] >> 6 == 2)

    def _units(self, packet: memoryview) -> Iterator[memoryview]:
        """Yields the first two bytes of every NAL unit; stops where the packet makes no sense."""
        if not self._length_size:
            data = bytes(packet)
            at = data.find(b"\0\0\1")
            while 0 <= at < len(data) - 4:
                yield packet[at + 3 : at + 5]
                at = data.find(b"\0\0\1", at + 3)
            return
        at, size = 0, self._length_size
        while at + size < len(packet):
            yield packet[at + size : at + size + 2]
            at += size + int.from_bytes(packet[at : at + size], "big")


def flags_of(classes: list[PictureClass]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Returns the flag bits of every packet of a stream.

    Pictures of a higher temporal layer may refer to a disposable picture of a lower one, so only those of the highest
    layer can really be dropped.
    """
    top = max((each.layer for each in classes), default=0)
    bits = [DISPOSABLE * (c.disposable and c.layer == top) + INDEPENDENT * c.independent for c in classes]
    return np.array(bits, np.uint8)
