"""Small videos for the tests of this package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longvideo.video import FileSource, VideoIndex, build_index
from tests.media import make_video

Opened = tuple[FileSource, VideoIndex]


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Path]:
    """Encodes a small video under a name."""

    def make(name: str = "video.mp4", **traits: Any) -> Path:
        return make_video(tmp_path / name, **traits)

    return make


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ordinary video of 60 frames that no test changes."""
    return make_video(tmp_path_factory.mktemp("plain") / "plain.mp4")


@pytest.fixture
def opened(plain: Path) -> Opened:
    """The ordinary video, open, and its index."""
    source = FileSource(plain)
    return source, build_index(source)
