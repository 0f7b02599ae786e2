"""Containers by their first bytes, packets by their places, pictures by their headers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longvideo.errors import BadMedia
from longvideo.video.addressing import Plain, Transport, from_name, to_name
from longvideo.video.bitstream import DISPOSABLE, INDEPENDENT, Classifier, PictureClass, flags_of
from longvideo.video.containers import AVI, MATROSKA, MOV, MP4, MPEG_TS, WEBM, Container, ends_early, identify
from longvideo.video.source import SourceReader

from .test_source import Bytes

TS = b"".join(bytes([0x47, 0x40, 0x11, 0x10]) + bytes(184) for _ in range(8))


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", MP4),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", MOV),
        (b"\0\0\0\x08wide\0\0\0\0mdat", MOV),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", WEBM),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", MATROSKA),
        (b"RIFF\x10\0\0\0AVI LIST", AVI),
        (TS, MPEG_TS),
        (b"junk" + TS, MPEG_TS),
    ],
)
def test_containers_are_known_by_their_first_bytes(head: bytes, container: Container) -> None:
    """Each container has its mark, whatever the file's name is."""
    assert identify(SourceReader(Bytes(head))) is container


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_are_identified_or_refused(data: bytes) -> None:
    """No bytes make the recognition fail in another way than by refusing."""
    reader = SourceReader(Bytes(data))
    with contextlib.suppress(BadMedia):
        assert identify(reader).demuxer in {"mov", "matroska", "mpegts", "avi"}


@settings(deadline=None)
@given(st.sampled_from([MP4, MATROSKA, AVI, MPEG_TS]), st.binary(max_size=300))
def test_looking_for_the_end_ends(container: Container, data: bytes) -> None:
    """The structure of hostile bytes is walked through without trouble."""
    ends_early(SourceReader(Bytes(data)), container, len(data))


def transport(payloads: list[bytes], pid: int = 0x100) -> bytes:
    """Packs payloads of at most 184 bytes into transport packets; the first starts a PES packet."""
    packets = []
    for number, payload in enumerate(payloads):
        stuffing = 184 - len(payload)
        field = b"" if not stuffing else bytes([stuffing - 1]) + (b"\0" + b"\xff" * (stuffing - 2))[: stuffing - 1]
        control = 0x30 if stuffing else 0x10
        packets.append(
            bytes([0x47, pid >> 8 | 0x40 * (number == 0), pid & 255, control | number % 16]) + field + payload
        )
    assert all(len(packet) == 188 for packet in packets)
    return b"".join(packets)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=1500), st.binary(max_size=400), st.integers(0, 3), st.integers(0, 10))
def test_a_packet_is_found_in_a_transport_stream(packet: bytes, before: bytes, foreign: int, header: int) -> None:
    """Transport headers, stuffing, other streams between and a picture before are taken out again, exactly."""
    start = b"\0\0\1\xe0\0\0\x80\0" + bytes([header]) + bytes(header)
    contents = start + before + packet
    pieces = transport([contents[:170], *(contents[at : at + 184] for at in range(170, len(contents), 184))])
    stream = b""
    for number in range(len(pieces) // 188):
        stream += pieces[188 * number : 188 * number + 188]
        stream += b"".join(transport([b"x" * 184], pid=0x200) for _ in range(foreign if number % 2 else 0))
    stream += transport([b"\0\0\1\xe0\0\0\x80\0\0next picture"])
    addressing = Transport(188)
    place = addressing.locate(SourceReader(Bytes(stream)), 0, memoryview(packet))
    assert place is not None
    part = memoryview(stream)[place.offset : place.offset + place.extent]
    assert bytes(addressing.extract(part, place.skip, len(packet))) == packet


@settings(deadline=None)
@given(st.binary(max_size=800), st.integers(0, 900), st.binary(min_size=1, max_size=50))
def test_a_place_counts_only_when_its_bytes_are_the_packet(data: bytes, position: int, packet: bytes) -> None:
    """Whatever a file holds, a place that is given holds the packet."""
    for addressing in (Plain(), Transport(188), Transport(204)):
        place = addressing.locate(SourceReader(Bytes(data)), position, memoryview(packet))
        if place is not None:
            part = memoryview(data)[place.offset : place.offset + place.extent]
            assert bytes(addressing.extract(part, place.skip, len(packet))) == packet


@pytest.mark.parametrize("addressing", [None, Plain(), Transport(192)])
def test_addressing_has_a_name(addressing: Plain | Transport | None) -> None:
    """What is stored in an index is understood when it is read."""
    assert from_name(to_name(addressing)) == addressing


@pytest.mark.parametrize("name", ["", "else", "transport/x"])
def test_unknown_addressing_is_refused(name: str) -> None:
    """Names that were never given are errors."""
    with pytest.raises(ValueError, match=r".+"):
        from_name(name)


AVCC = b"\1\x64\0\x1f\xff\xe1\0"


@pytest.mark.parametrize(
    ("codec", "extradata", "packet", "expected"),
    [
        ("h264", AVCC, b"\0\0\0\2\x09\x10\0\0\0\3\x01\x9a\0", PictureClass(disposable=True)),
        ("h264", AVCC, b"\0\0\0\3\x41\x9a\0", PictureClass()),
        ("h264", AVCC, b"\0\0\0\3\x01\x9a\0\0\0\0\3\x41\x9a\0", PictureClass()),
        ("h264", b"", b"\0\0\0\1\x09\x10\0\0\1\x01\x9a\0\0\0", PictureClass(disposable=True)),
        ("h264", b"", b"\0\0\0\1\x65\x88\0\0\0", PictureClass()),
        ("hevc", b"", b"\0\0\0\1\x00\x01\x80\0\0", PictureClass(disposable=True)),
        ("hevc", b"", b"\0\0\0\1\x02\x03\x80\0\0", PictureClass(layer=2)),
        ("hevc", b"", b"\0\0\0\1\x0c\x01\x80\0\0", PictureClass(disposable=True, independent=True)),
        ("hevc", b"", b"\0\0\0\1\x26\x01\x80\0\0", PictureClass()),
        ("mpeg2video", b"", b"\0\0\1\0\x01\x1f\xff\xf8", PictureClass(disposable=True)),
        ("mpeg2video", b"", b"\0\0\1\0\x01\x17\xff\xf8", PictureClass()),
        ("mpeg4", b"", b"\0\0\1\xb6\x91\0\0", PictureClass(disposable=True)),
        ("mpeg4", b"", b"\0\0\1\xb6\x91\0\0\0\0\1\xb6\x51", PictureClass()),
        ("mpeg4", b"", b"\0\0\1\xb6\x51\0\0", PictureClass()),
        ("vp9", b"", b"\x82\x49\x83\x42", PictureClass()),
    ],
)
def test_headers_tell_whether_a_picture_can_be_dropped(
    codec: str, extradata: bytes, packet: bytes, expected: PictureClass
) -> None:
    """Only a picture whose headers say that nothing refers to it counts as disposable."""
    assert Classifier(codec, extradata).classify(memoryview(packet)) == expected


@settings(deadline=None)
@given(st.sampled_from(["h264", "hevc", "mpeg2video", "mpeg4"]), st.sampled_from([b"", AVCC]), st.binary(max_size=80))
def test_no_bytes_confuse_the_headers(codec: str, extradata: bytes, packet: bytes) -> None:
    """Hostile packets are classified without an error."""
    Classifier(codec, extradata).classify(memoryview(packet))


def test_only_the_highest_temporal_layer_is_dropped() -> None:
    """A lower layer's picture may be referred to from above, whatever its own headers say."""
    classes = [PictureClass(True, 0), PictureClass(True, 1), PictureClass(False, 1), PictureClass(False, 0, True)]
    assert flags_of(classes).tolist() == [0, DISPOSABLE, 0, INDEPENDENT]
