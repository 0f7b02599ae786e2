"""Videos are read in processes of their own, and what goes wrong in one stays there."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from longvideo.errors import (
    BadMedia,
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    LongVideoError,
    StorageUnavailable,
    VideoChanged,
)
from longvideo.media import LEAST_MEMORY_BYTES, MediaLimits
from longvideo.video import FileSource, VideoIndex, build_index, read_frames
from longvideo.video.confine import can_filter
from longvideo.video.sandbox import Sandbox
from tests.contract.hostile import ACTS, ATTEMPTS
from tests.media import cut, make_sound, make_video, read_number

DEADLINE_SECONDS = 30.0


class Named(FileSource):
    """A file under another name: for the hostile process, an order."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path)
        self._name = name

    @property
    def name(self) -> str:
        """The name that was given."""
        return self._name


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of numbered frames."""
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", seconds=3, audio=True)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox as the services have it."""
    made = Sandbox()
    yield made
    made.close()


@pytest.fixture(scope="module")
def hostile() -> Iterator[Sandbox]:
    """A sandbox whose processes were taken over."""
    made = Sandbox(
        MediaLimits(memory_bytes=LEAST_MEMORY_BYTES, seconds=4, processes=2), program="tests.contract.hostile"
    )
    yield made
    made.close()


def order(sandbox: Sandbox, film: Path, name: str) -> BadMedia:
    """Orders a hostile process to do something, and returns what that led to."""
    with Named(film, name) as source, pytest.raises(BadMedia) as caught:
        sandbox.build_index(source)
    return caught.value


def same(first: VideoIndex, second: VideoIndex) -> bool:
    """Tells whether two indexes agree in everything."""
    pairs = zip(dataclasses.astuple(first), dataclasses.astuple(second), strict=True)
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)


def test_the_sandbox_reads_what_the_reader_reads(sandbox: Sandbox, film: Path) -> None:
    """Index and frames are the same as without a sandbox, in the order asked, with repetitions."""
    with FileSource(film) as source:
        index = sandbox.build_index(source)
        assert same(index, build_index(source))
        frames = sandbox.read_frames(source, index, [70, 3, 3, 41], 100)
        assert frames == read_frames(source, index, [70, 3, 3, 41], 100)
        assert [read_number(frame.jpeg) for frame in frames] == [70, 3, 3, 41]
        assert sandbox.read_frames(source, index, [], 100) == []


def test_errors_are_those_of_the_reader(sandbox: Sandbox, film: Path, tmp_path: Path) -> None:
    """What is wrong with a request or a file is told in the same words as without a sandbox."""

    def said(use: Callable[[], object]) -> tuple[type, str, str]:
        with pytest.raises(LongVideoError) as caught:
            use()
        return type(caught.value), caught.value.reason, caught.value.message

    text = tmp_path / "text.mp4"
    text.write_bytes(b"no video" * 100)
    half = cut(make_video(tmp_path / "half.mp4", seconds=0.5), 0.5)
    for path in (text, half, make_sound(tmp_path / "sound.mp4")):
        with FileSource(path) as source:
            assert said(lambda: sandbox.build_index(source)) == said(lambda: build_index(source))
    with FileSource(film) as source:
        index = build_index(source)
        other = dataclasses.replace(index, version="another")
        for kind, task in {
            InvalidArgument: (index, [1000], 100),
            VideoChanged: (other, [1], 100),
        }.items():
            ours = said(lambda: sandbox.read_frames(source, *task))  # noqa: B023
            assert ours == said(lambda: read_frames(source, *task))  # noqa: B023
            assert ours[0] is kind
        with pytest.raises(InvalidArgument, match="longest_side is 0"):
            sandbox.read_frames(source, index, [1], 0)


def test_trouble_of_the_storage_stays_trouble_of_the_storage(sandbox: Sandbox, film: Path) -> None:
    """When the source fails, its own error comes through."""

    class Failing(FileSource):
        def read(self, offset: int, length: int) -> bytes:
            raise StorageUnavailable("the disk is gone")

    with Failing(film) as source, pytest.raises(StorageUnavailable, match="the disk is gone"):
        sandbox.build_index(source)


@pytest.mark.skipif(not can_filter(), reason="this kernel does not filter system calls")
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_process_may_compute_and_nothing_else(hostile: Sandbox, film: Path, attempt: str) -> None:
    """No network, no files, no processes, no signals, no code of its own; threads are allowed."""
    assert order(hostile, film, attempt).message == ("done" if attempt == "thread" else "EPERM")


def test_without_a_filter_the_limits_still_hold(film: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where system calls cannot be filtered no file and no socket can be opened either; and that is said once."""
    sandbox = Sandbox(MediaLimits(), program="tests.contract.unfiltered")
    with caplog.at_level(logging.WARNING):
        for attempt in ("socket", "read a file", "write a file"):
            assert order(sandbox, film, attempt).message == "EMFILE"
        killed = order(sandbox, film, "be killed")
    sandbox.close()
    assert (killed.reason, "SIGKILL" in killed.message) == ("MEDIA_CRASHED", True)
    assert len([record for record in caplog.records if "seccomp" in record.message]) == 1


@pytest.mark.parametrize(
    ("act", "reason"),
    {
        **dict.fromkeys(ACTS.keys() - {"be killed"}, "MEDIA_CRASHED"),
        "allocate": "MEDIA_LIMIT_MEMORY",
        "spin": "MEDIA_LIMIT_TIME",
        "sleep": "MEDIA_LIMIT_TIME",
        "half a message": "MEDIA_LIMIT_TIME",
        "read for ever": "MEDIA_LIMIT_READS",
        "ugly words": "MEDIA_DAMAGED",
    }.items(),
)
def test_whatever_a_process_does_ends_as_bad_media(hostile: Sandbox, film: Path, act: str, reason: str) -> None:
    """A process that takes too much, dies or talks nonsense ends its own request, with a reason; the next one works."""
    refused = order(hostile, film, act)
    assert refused.reason == reason
    assert refused.message.isprintable()
    assert len(refused.message) <= 500
    with FileSource(film) as source:
        assert hostile.build_index(source).frame_count == 90


@pytest.mark.parametrize("act", ["another frame", "another size", "no picture", "no number"])
def test_only_the_pictures_asked_for_are_taken(hostile: Sandbox, film: Path, act: str) -> None:
    """A picture of another frame, of another size, or none at all is refused."""
    with Named(film, act) as source, pytest.raises(BadMedia) as caught:
        hostile.read_frames(source, build_index(source), [3], 100)
    assert caught.value.reason == "MEDIA_CRASHED"


def test_others_go_on(hostile: Sandbox, film: Path) -> None:
    """While one request hangs until its limit, others are answered."""
    with ThreadPoolExecutor() as pool, FileSource(film) as source:
        hanging = pool.submit(order, hostile, film, "sleep")
        for _ in range(5):
            assert hostile.build_index(source).frame_count == 90
        assert hanging.result().reason == "MEDIA_LIMIT_TIME"


def test_a_processor_limit_holds_by_itself() -> None:
    """A process that computes for longer than it may is ended by the kernel, whoever watches it."""
    script = f"from longvideo.video.confine import confine\nconfine({LEAST_MEMORY_BYTES}, 1)\nwhile True: pass"
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == -signal.SIGXCPU


def test_who_waits_no_longer_ends_the_work(hostile: Sandbox, film: Path) -> None:
    """A check that raises, or a deadline, ends a task that hangs, and one that waits for its turn."""
    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise Cancelled("nobody waits")

    def hang() -> None:
        with Named(film, "sleep") as source, pytest.raises(Cancelled, match="nobody waits"):
            hostile.build_index(source, check=check)

    with ThreadPoolExecutor() as pool:
        tasks = [pool.submit(hang) for _ in range(5)]
        with FileSource(film) as source, pytest.raises(DeadlineExceeded, match=r"film\.mp4"):
            hostile.read_frames(source, build_index(source), [1], 100, deadline=time.monotonic())
        gone.set()
        for task in tasks:
            task.result(DEADLINE_SECONDS)


def test_the_process_that_makes_the_others_is_replaced(film: Path) -> None:
    """When it dies another takes its place, and nobody notices."""
    sandbox = Sandbox()
    with FileSource(film) as source:
        sandbox.build_index(source)
        maker = sandbox._spawner._maker
        assert maker is not None
        os.kill(maker.process.pid, signal.SIGKILL)
        maker.process.wait()
        assert sandbox.build_index(source).frame_count == 90
    sandbox.close()
    sandbox.close()


def test_no_process_outlives_the_service(film: Path) -> None:
    """When a service is killed, the processes that read videos for it end too."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from longvideo.video.sandbox import Sandbox\n"
        "from tests.contract.test_sandbox import Named\n"
        "sandbox = Sandbox(program='tests.contract.hostile')\n"
        "sandbox.start()\n"
        "print(sandbox._spawner._maker.process.pid, flush=True)\n"
        "sandbox.build_index(Named(Path(sys.argv[1]), 'sleep'))\n"
    )
    service = subprocess.Popen([sys.executable, "-c", script, str(film)], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    maker = int(service.stdout.readline())
    wait_until(lambda: len(children(maker)) == 1)
    everybody = [maker, *children(maker)]
    service.kill()
    service.wait()
    service.stdout.close()
    wait_until(lambda: not any(is_alive(process) for process in everybody))


def children(process: int) -> list[int]:
    """Returns the processes that a process made."""
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_alive(process: int) -> bool:
    """Tells whether a process runs; one that nobody has buried yet does not."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    """Waits for a condition."""
    ends = time.monotonic() + DEADLINE_SECONDS
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)
