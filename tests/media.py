"""Encodes small videos whose pictures say which frame they are.

Every picture is a grid of 8 x 6 cells. Sixteen cells hold the frame's number in binary, sixteen more its complement,
and coloured corners show which way is up. `read_number` reads the number back at any size, and fails when the picture
is turned, mirrored or wrong.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import simplejpeg

Pixels = npt.NDArray[np.uint8]

# SVT-AV1 tells all about itself on the standard error stream unless this says errors only.
os.environ.setdefault("SVT_LOG", "1")

COLUMNS, ROWS, BITS = 8, 6, 16
RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (128, 128, 128)

ENCODERS: Mapping[str, str] = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
}
_MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".ts": "mpegts", ".avi": "avi"}


def picture(number: int, width: int = 160, height: int = 96) -> Pixels:
    """Returns the RGB picture of a frame."""
    bits = [number >> (BITS - 1 - place) & 1 for place in range(BITS)]
    cells = np.full((ROWS, COLUMNS, 3), GREY, np.uint8)
    cells[0, 0], cells[0, -1], cells[-1, 0] = RED, BLUE, GREEN
    cells[1:3] = np.array(bits, np.uint8).reshape(2, COLUMNS, 1) * 255
    cells[3:5] = 255 - cells[1:3]
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return cells[rows][:, columns]


def read_number(jpeg: bytes) -> int:
    """Returns the number of the frame on a JPEG. Raises AssertionError unless the picture is whole and upright."""
    pixels = simplejpeg.decode_jpeg(jpeg).astype(np.int64)
    height, width = pixels.shape[:2]
    ys = ((np.arange(ROWS) + 0.5) * height / ROWS).astype(int)
    xs = ((np.arange(COLUMNS) + 0.5) * width / COLUMNS).astype(int)
    cells = pixels[ys][:, xs]
    for (row, column), colour in {(0, 0): RED, (0, -1): BLUE, (-1, 0): GREEN, (-1, -1): GREY}.items():
        assert np.abs(cells[row, column] - colour).max() < 70, f"corner {row},{column} is {cells[row, column]}"
    difference = cells[1:3].mean(axis=2) - cells[3:5].mean(axis=2)
    assert np.abs(difference).min() > 100, "the picture is a mixture of frames"
    return int("".join("1" if value > 0 else "0" for value in difference.ravel()), 2)


def make_video(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 30,
    codec: str = "h264",
    width: int = 160,
    height: int = 96,
    gop: int = 20,
    bframes: int = 2,
    open_gop: bool = False,
    times: Sequence[float] | None = None,
    start: float = 0.0,
    turned: int = 0,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    audio: bool = False,
    cover: bool = False,
    faststart: bool = False,
    fragmented: bool = False,
    depth: int = 8,
    hevc_params: str = "",
    options: Mapping[str, str] | None = None,
    paint: Callable[[int, int, int], Pixels] = picture,
) -> Path:
    """Encodes a video and returns its path; the suffix names the container.

    `times` gives each frame's time in seconds, else there are `seconds * fps` frames at a constant rate. `start` moves
    all times. `turned` is how far a player must turn the picture clockwise, and `mirrored` whether it mirrors it left
    to right afterwards; `width` and `height` are those of the upright picture. `depth` is how many bits a sample has.
    `hevc_params` goes to x265. `paint(number, width, height)` draws a frame.
    """
    muxing = {"movflags": "+".join(["faststart"] * faststart + ["frag_keyframe", "empty_moov"] * fragmented)}
    stored = (height, width) if turned in {90, 270} else (width, height)
    shown_at = list(times) if times is not None else [n / fps for n in range(round(seconds * fps))]
    base = Fraction(1, fps) if times is None and not start else Fraction(1, 1000)
    with av.open(
        str(path), "w", format=_MUXERS[path.suffix], container_options={k: v for k, v in muxing.items() if v}
    ) as output:
        stream: Any = output.add_stream(ENCODERS.get(codec, codec), rate=fps)
        stream.width, stream.height = stored
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p" if depth == 8 else f"yuv420p{depth}le"
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        stream.options = _codec_options(codec, gop, bframes, open_gop) | dict(options or {})
        if hevc_params:
            stream.options = stream.options | {"x265-params": f"{stream.options['x265-params']}:{hevc_params}"}
        if turned or mirrored:
            stream.set_display_rotation(-turned, hflip=mirrored)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        pictures = _add_cover(output) if cover else None
        sound = output.add_stream("mp2" if path.suffix in {".ts", ".avi"} else "aac", rate=16000) if audio else None
        if pictures is not None:
            output.mux(pictures)
        for number, moment in enumerate(shown_at):
            upright = paint(number, width, height)
            pixels = np.rot90(upright[:, ::-1] if mirrored else upright, turned // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            frame.pts, frame.time_base = round((moment + start) / base), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            _add_silence(output, sound, shown_at[-1], start)
    return path


def _codec_options(codec: str, gop: int, bframes: int, open_gop: bool) -> dict[str, str]:
    common = {"g": str(gop), "bf": str(bframes), "keyint_min": str(gop), "crf": "28"}
    match codec:
        case "h264":
            params = f"open-gop={int(open_gop)}:scenecut=0:force-cfr=0"
            return common | {"preset": "veryfast", "x264-params": params}
        case "hevc":
            params = f"log-level=none:open-gop={int(open_gop)}:keyint={gop}:min-keyint={gop}:bframes={bframes}"
            return {"preset": "ultrafast", "x265-params": f"{params}:pools=1:scenecut=0:crf=28"}
        case "vp8" | "vp9":
            return {"g": str(gop), "deadline": "realtime", "cpu-used": "8", "b": "400k"}
        case "av1":
            return {"g": str(gop), "preset": "8", "crf": "15", "svtav1-params": "lp=1:enable-tf=0"}
        case "mpeg4" | "mpeg2video":
            return {"g": str(gop), "bf": str(bframes), "b": "800k", "sc_threshold": "1000000000"}
    return {}


def _add_cover(output: Any) -> Any:
    cover = output.add_stream("mjpeg", rate=1)
    cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
    cover.disposition = av.stream.Disposition.attached_pic
    packets = cover.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), "rgb24"))
    return packets + cover.encode(None)


def _add_silence(output: Any, sound: Any, seconds: float, start: float) -> None:
    samples = np.zeros((1, 1024), np.float32 if sound.format.name.startswith("flt") else np.int16)
    for number in range(int((seconds + 1) * 16000 / 1024)):
        frame = av.AudioFrame.from_ndarray(samples, format=sound.format.name, layout="mono")
        frame.sample_rate, frame.pts = 16000, number * 1024 + round(start * 16000)
        frame.time_base = Fraction(1, 16000)
        output.mux(sound.encode(frame))
    output.mux(sound.encode(None))


def skip_start(path: Path, frames: int, fps: int = 30) -> Path:
    """Changes the edit list of an MP4 file so that its first frames are decoded but not shown. Returns the path."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4
    scale_at = data.index(b"mdhd") + 16
    (scale,) = struct.unpack_from(">I", data, scale_at)
    count, duration, media_time = struct.unpack_from(">IIi", data, at + 4)
    assert count == 1, "the file has more edits than one"
    movie_scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    struct.pack_into(">Ii", data, at + 8, duration - frames * movie_scale // fps, media_time + frames * scale // fps)
    path.write_bytes(data)
    return path


def cut(path: Path, share: float) -> Path:
    """Keeps only the first part of a file, as an interrupted download does. Returns the path."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def make_sound(path: Path, seconds: float = 1.0) -> Path:
    """Writes a file that holds sound and no pictures. Returns the path."""
    with av.open(str(path), "w", format=_MUXERS[path.suffix]) as output:
        _add_silence(output, output.add_stream("aac", rate=16000), seconds, 0.0)
    return path


def respace(path: Path, before: int, after: int) -> Path:
    """Puts bytes around every packet of a transport stream, as Blu-ray and some receivers do. Returns the path."""
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    path.write_bytes(b"".join(bytes(before) + packet + bytes(after) for packet in packets))
    return path
