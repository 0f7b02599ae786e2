"""Files that are no sound video: each gets its own reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from longvideo.errors import BadMedia, StorageUnavailable
from longvideo.video import FileSource, build_index, demux, read_frames
from longvideo.video.containers import MP4
from longvideo.video.source import SourceReader
from tests.media import cut, make_sound, make_video, read_number


def reason_of(path: Path) -> str:
    """Returns the reason why a file is refused."""
    with FileSource(path) as source, pytest.raises(BadMedia) as caught:
        build_index(source)
    assert path.name in caught.value.message
    return caught.value.reason


def image(kind: str) -> bytes:
    """Returns a small image file."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, kind)
    return buffer.getvalue()


DISGUISED: dict[str, bytes] = {
    "text": b"this is not a video, whatever it is called\n" * 200,
    "three bytes": b"abc",
    "zeros": bytes(50_000),
    "HLS playlist": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "concat script": b"ffconcat version 1.0\nfile '/etc/hostname'\n",
    "SDP": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "DASH manifest": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "bare H.264": b"\0\0\0\1\x67\x42\0\x1e" + bytes(500),
    "PNG": image("PNG"),
    "JPEG": image("JPEG"),
    "GIF": image("GIF"),
    "WebP": image("WEBP"),
    "HEIF": b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(500),
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(500),
}


@pytest.mark.parametrize("kind", DISGUISED)
def test_what_is_no_video_container_is_refused(tmp_path: Path, kind: str) -> None:
    """Text, images, playlists, scripts and bare streams are refused by their first bytes, whatever their name."""
    path = tmp_path / "video.mp4"
    path.write_bytes(DISGUISED[kind])
    assert reason_of(path) == "MEDIA_UNSUPPORTED_CONTAINER"


def test_the_refusal_names_the_supported_containers(tmp_path: Path) -> None:
    """Whoever brings another container is told which ones work."""
    path = tmp_path / "video.mp4"
    path.write_bytes(DISGUISED["text"])
    with FileSource(path) as source, pytest.raises(BadMedia, match=r"MP4, MOV, Matroska .*, WebM, MPEG-TS and AVI"):
        build_index(source)


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    """A file of no bytes has a reason of its own."""
    path = tmp_path / "video.mp4"
    path.touch()
    assert reason_of(path) == "MEDIA_EMPTY"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_alone_is_no_video(tmp_path: Path, suffix: str) -> None:
    """A file with nothing but sound is refused with its own reason."""
    assert reason_of(make_sound(tmp_path / f"sound{suffix}")) == "MEDIA_NO_VIDEO"


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mjpeg"), ("b.mkv", "ffv1")])
def test_a_codec_outside_the_list_is_refused(tmp_path: Path, name: str, codec: str) -> None:
    """A codec that is not supported is named, with those that are."""
    path = make_video(tmp_path / name, codec=codec, seconds=0.3)
    with FileSource(path) as source, pytest.raises(BadMedia, match=rf"\({codec}\).*H\.264, HEVC") as caught:
        build_index(source)
    assert caught.value.reason == "MEDIA_UNSUPPORTED_CODEC"


@pytest.mark.parametrize(
    "head",
    [b"\0\0\0\x18ftypisom\0\0\0\0isommp42", b"\x1aE\xdf\xa3", b"RIFF\x10\0\0\0AVI ", (b"\x47" + bytes(187)) * 20],
    ids=["mp4", "mkv", "avi", "ts"],
)
def test_a_container_without_contents_is_damaged(tmp_path: Path, head: bytes) -> None:
    """The first bytes of a container and nothing sensible after them give a clear refusal."""
    path = tmp_path / "video.bin"
    path.write_bytes(head + bytes(2000))
    assert reason_of(path) == "MEDIA_DAMAGED"


def test_a_download_that_lost_its_end_and_with_it_the_index_is_damaged(video: Callable[..., Path]) -> None:
    """An MP4 file whose index was to come last cannot be read when it is cut off."""
    assert reason_of(cut(video(), 0.8)) == "MEDIA_DAMAGED"


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("a.mp4", {"faststart": True, "audio": True}),
        ("b.mkv", {"audio": True}),
        ("c.webm", {"codec": "vp9"}),
        ("d.avi", {"codec": "mpeg4"}),
    ],
)
def test_a_truncated_file_is_read_as_far_as_it_goes(
    video: Callable[..., Path], name: str, traits: dict[str, object]
) -> None:
    """A cut-off file gives the frames that are there, and a warning that says how much that is."""
    path = cut(video(name, seconds=4, **traits), 0.75)
    with FileSource(path) as source:
        found = build_index(source)
        (warning,) = found.warnings
        assert warning == f"The file is truncated: {found.duration:.1f} s of 4.0 s can be read."
        assert 1 < found.duration < 3.9
        last_kept_by_all = found.frame_count - 4
        frames = read_frames(source, found, range(last_kept_by_all), 160)
        assert [read_number(frame.jpeg) for frame in frames] == list(range(last_kept_by_all))


def test_a_truncated_transport_stream_says_so(video: Callable[..., Path]) -> None:
    """A transport stream knows no length, but one that ends within a packet was cut off."""
    path = video("a.ts")
    path.write_bytes(path.read_bytes()[:-300])
    with FileSource(path) as source:
        found = build_index(source)
        assert found.warnings == (f"The file is truncated: {found.duration:.1f} s can be read.",)


@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.webm", "d.avi", "e.ts"])
def test_a_sound_file_has_no_warning(video: Callable[..., Path], name: str) -> None:
    """Nothing is said about a file that is whole, even when its sound outlasts its pictures."""
    codec = {"c.webm": "vp9", "d.avi": "mpeg4"}.get(name, "h264")
    with FileSource(video(name, codec=codec, audio=name != "c.webm")) as source:
        assert build_index(source).warnings == ()


def test_pictures_beyond_the_limit_are_refused() -> None:
    """Dimensions that would take too much memory are refused with a reason."""
    for width, height in [(20000, 10), (10, 20000), (16000, 16000)]:
        with pytest.raises(BadMedia) as caught:
            demux.check_dimensions(width, height, "video.mp4")
        assert caught.value.reason == "MEDIA_TOO_LARGE"
    demux.check_dimensions(7680, 4320, "video.mp4")


def test_a_video_of_more_than_two_days_is_refused(video: Callable[..., Path]) -> None:
    """A duration beyond the limit is refused, however few frames fill it."""
    assert reason_of(video(times=[0, 100_000, 200_000], bframes=0)) == "MEDIA_TOO_LARGE"


def test_too_many_packets_are_refused(plain: Path) -> None:
    """The pass over the packets ends at its limit."""
    with FileSource(plain) as source, pytest.raises(BadMedia, match="more than 10 packets") as caught:
        demux.scan(SourceReader(source), MP4, max_packets=10)
    assert caught.value.reason == "MEDIA_TOO_LARGE"


def test_trouble_of_the_storage_stays_trouble_of_the_storage(plain: Path) -> None:
    """When the source fails in the middle, its own error comes through, not one about the video."""

    class Failing(FileSource):
        def read(self, offset: int, length: int) -> bytes:
            raise StorageUnavailable("the disk is gone")

    with Failing(plain) as source, pytest.raises(StorageUnavailable, match="the disk is gone"):
        build_index(source)
