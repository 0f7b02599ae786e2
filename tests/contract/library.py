"""A small stored video, and what a model was shown of it."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from longvideo.resources import SubtitlesName, VideoName
from longvideo.storage import ObjectStore, index_key, source_key, subtitles_key
from longvideo.subtitles import Cue, Subtitles
from longvideo.video import build_index
from longvideo.video.sandbox import Sandbox
from tests.media import make_video, read_number

# Reads the videos of all tests; it ends with their process.
MEDIA = Sandbox()
VIDEO = VideoName("ab" * 32)
FPS = 20
SECONDS = 13
FRAMES = FPS * SECONDS


def film(directory: Path) -> Path:
    """Encodes 13 s of numbered frames."""
    return make_video(directory / "a film.mp4", seconds=SECONDS, fps=FPS)


def add_film(store: ObjectStore, path: Path) -> None:
    """Stores a video and its index."""
    store.add_file(source_key(VIDEO.video_id), path)
    with store.open(source_key(VIDEO.video_id)) as source:
        store.put(index_key(VIDEO.video_id), build_index(source).to_bytes())


def add_subtitles(store: ObjectStore, *cues: Cue) -> str:
    """Stores subtitles and returns their name."""
    subtitles = Subtitles(cues)
    name = SubtitlesName(VIDEO.video_id, subtitles.id)
    store.put(subtitles_key(name.video_id, name.subtitles_id), subtitles.to_bytes())
    return str(name)


def parts(request: dict[str, Any]) -> list[str]:
    """Returns the user's message as texts, each picture as `#` and the number that it shows."""
    shown = []
    for part in request["messages"][1]["content"]:
        if part["type"] == "text":
            shown.append(part["text"])
        else:
            jpeg = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
            shown.append(f"#{read_number(jpeg)}")
    return shown


def pictures(request: dict[str, Any]) -> list[int]:
    """Returns the numbers of the frames that a request shows, in its order."""
    return [int(part[1:]) for part in parts(request) if re.fullmatch(r"#\d+", part)]
