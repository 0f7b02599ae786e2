"""Damaged videos, through the sandbox: each is a video still, or is refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st

from longvideo.errors import BadMedia
from longvideo.media import LEAST_MEMORY_BYTES, MediaLimits
from longvideo.testing import MemoryStore
from longvideo.video.sandbox import Sandbox
from tests.contract.test_video_exactness import CASES
from tests.fuzz.conftest import Fuzz
from tests.media import make_video

SECONDS = 20.0
REFUSALS = {
    *("MEDIA_DAMAGED", "MEDIA_EMPTY", "MEDIA_NO_VIDEO", "MEDIA_TOO_LARGE", "MEDIA_UNSUPPORTED_CODEC"),
    *("MEDIA_UNSUPPORTED_CONTAINER", "MEDIA_LIMIT_MEMORY", "MEDIA_LIMIT_TIME", "MEDIA_LIMIT_READS"),
}
# Every container with every codec, and the shapes that take ways of their own.
SHAPES = (
    "open GOP",
    "variable rate",
    "hidden frames",
    "fragments",
    "index in front",
    "edit list",
    "cover art",
    "turned",
)
LABELS = sorted(label for label in CASES if " in " in label or any(shape in label for shape in SHAPES))
# Where sizes and counts go wrong.
NUMBERS = [b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 8]


@dataclass(frozen=True)
class Damage:
    """What happens to a video: bytes that are overwritten, a part that is missing or doubled, and an early end.

    Places are shares of the file; `front` says whether only its first and last four thousand bytes are hit, where the
    headers are.
    """

    label: str
    front: bool
    writes: list[tuple[float, bytes]]
    moved: tuple[float, int, int]
    end: float

    def of(self, data: bytes) -> bytes:
        """Returns the damaged bytes."""
        changed = bytearray(data)
        room = min(4000, len(data) // 2) if self.front else len(data) // 2
        for share, written in self.writes:
            place = int((2 * share - 1) * room) % len(data)
            changed[place : place + len(written)] = written
        del changed[len(data) :]
        place, length, times = int(self.moved[0] * len(data)), self.moved[1], self.moved[2]
        changed[place : place + length] = times * changed[place : place + length]
        return bytes(changed[: int(self.end * len(changed))])


SHARES = st.floats(0, 1, exclude_max=True)
DAMAGES = st.builds(
    Damage,
    label=st.sampled_from(LABELS),
    front=st.booleans(),
    writes=st.lists(st.tuples(SHARES, st.sampled_from(NUMBERS) | st.binary(min_size=1, max_size=8)), max_size=12),
    moved=st.tuples(SHARES, st.integers(0, 400), st.integers(0, 2)) | st.just((0.0, 0, 1)),
    end=st.just(1.0) | SHARES,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with little room."""
    made = Sandbox(MediaLimits(memory_bytes=LEAST_MEMORY_BYTES, seconds=SECONDS))
    yield made
    made.close()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The sound videos."""
    folder = tmp_path_factory.mktemp("media")
    made = {}
    for number, label in enumerate(LABELS):
        case = CASES[label]
        path = folder / f"{number}-{case.name}"
        made[label] = case.after(make_video(path, **case.traits)).read_bytes()
    return made


def test_a_damaged_video_is_read_or_refused(fuzz: Fuzz, sandbox: Sandbox, videos: dict[str, bytes]) -> None:
    """Whatever happens to a file, probing it and reading frames of it end, with a video or with the reason why not."""
    store = MemoryStore()

    def check(damage: Damage) -> None:
        store.put("video", damage.of(videos[damage.label]))
        with store.open("video") as source:
            try:
                index = sandbox.build_index(source)
                asked = random.Random(0).choices(range(index.frame_count), k=3)
                frames = sandbox.read_frames(source, index, asked, 64)
            except BadMedia as refused:
                assert refused.reason in REFUSALS, refused.message
            else:
                assert {frame.index for frame in frames} <= set(asked)

    fuzz(DAMAGES, check)
