"""The peers: each gives frames by their numbers as JPEGs, in the way its users do it."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from bench.frames.videos import FPS


def _jpeg(pixels: Any, side: int) -> bytes:
    image = Image.fromarray(pixels)
    scale = min(1.0, side / max(image.size))
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def decord(path: str, frames: Sequence[int], side: int) -> list[bytes]:
    """Opens the video twice with sixteen threads, and takes all frames as one batch, as the research code does."""
    import decord as library  # noqa: PLC0415  # one peer must not load another

    library.VideoReader(path, num_threads=16).get_avg_fps()
    reader = library.VideoReader(path, num_threads=16)
    return [_jpeg(pixels, side) for pixels in reader.get_batch(list(frames)).asnumpy()]


def pyav(path: str, frames: Sequence[int], side: int) -> list[bytes]:
    """Seeks to each frame's time and decodes up to it."""
    import av  # noqa: PLC0415

    found = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        assert stream.time_base is not None
        for number in frames:
            container.seek(int(number / FPS / stream.time_base), stream=stream)
            picture = next(p for p in container.decode(stream) if round(float(p.time or 0) * FPS) >= number)
            found.append(_jpeg(picture.to_ndarray(format="rgb24"), side))
    return found


def opencv(path: str, frames: Sequence[int], side: int) -> list[bytes]:
    """Sets the position to each frame and reads it."""
    import cv2  # noqa: PLC0415

    capture = cv2.VideoCapture(path)
    found = []
    for number in frames:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        pixels = capture.read()[1]
        found.append(_jpeg(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), side))
    return found


def torchcodec(path: str, frames: Sequence[int], side: int) -> list[bytes]:
    """Takes all frames as one batch, from an index made when the video is opened."""
    from torchcodec.decoders import VideoDecoder  # noqa: PLC0415

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=0)
    return [_jpeg(pixels, side) for pixels in decoder.get_frames_at(list(frames)).data.numpy()]


def ffmpeg(path: str, frames: Sequence[int], side: int) -> list[bytes]:
    """Starts the command once for each frame, with the position before the input."""
    command = shutil.which("ffmpeg")
    if command is None:
        import imageio_ffmpeg  # noqa: PLC0415

        command = imageio_ffmpeg.get_ffmpeg_exe()
    output = ["-frames:v", "1", "-vf", f"scale={side}:-2", "-q:v", "3", "-f", "image2", "-c:v", "mjpeg", "-"]
    return [
        subprocess.run(  # noqa: S603  # the command that is measured
            [command, "-v", "error", "-ss", f"{(number - 0.5) / FPS:.4f}", "-i", path, *output],
            check=True,
            capture_output=True,
        ).stdout
        for number in frames
    ]


WAYS: dict[str, Callable[[str, Sequence[int], int], list[bytes]]] = {
    "decord": decord,
    "pyav": pyav,
    "opencv": opencv,
    "torchcodec": torchcodec,
    "ffmpeg": ffmpeg,
}


def run(way: str, where: str, tasks: Iterable[tuple[list[int], int]]) -> list[tuple[list[int], list[bytes]]]:
    """Does the tasks, each given as frames and size, one after the other. A video at a URL is downloaded first."""
    with tempfile.TemporaryDirectory(dir="var") as directory:
        if where.startswith("http"):
            path = Path(directory) / "video.mp4"
            with urllib.request.urlopen(where) as answer, path.open("wb") as file:  # noqa: S310  # our own server
                shutil.copyfileobj(answer, file, 1 << 20)
            where = str(path)
        return [(frames, WAYS[way](where, frames, side)) for frames, side in tasks]
