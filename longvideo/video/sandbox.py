"""Reads videos in processes of their own, which have limits and no network. What the services use.

FFmpeg's demultiplexers and decoders are a million lines that strangers' files are fed to. So each task runs in a new
process that can do nothing but compute and ask this one for bytes of that one video. When it is taken over, all that
can be gained is wrong pictures of the video that did it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from longvideo import metrics, telemetry
from longvideo.cpus import processors
from longvideo.errors import BadMedia
from longvideo.media import MediaLimits
from longvideo.video.conversation import Conversation, Patience
from longvideo.video.excerpt import excerpt
from longvideo.video.frames import Frame, check_request
from longvideo.video.index import BadIndex, VideoIndex
from longvideo.video.jpeg import jpeg_size
from longvideo.video.picture import fit
from longvideo.video.source import ByteSource
from longvideo.video.spawner import Spawner
from longvideo.video.wire import NUMBER, Kind

Check = Callable[[], object]

# More tasks at once than this many have no use for one process's model calls, and each may take all its memory.
MAX_PROCESSES: Final = 8
_WORKER: Final = "longvideo.video.worker"
_SPANS: Final = {"frames": "read frames", "index": "build index"}
# How long a wait goes on before it is asked whether anybody still wants its end.
_SLICE_SECONDS: Final = 0.1
# An index of the most packets that are read, and a picture of the largest size, take less.
_MAX_INDEX_BYTES: Final = 64 << 20
_JPEG_HEADER_BYTES: Final = 1 << 16


class MediaReader(Protocol):
    """Reads videos."""

    def start(self) -> None:
        """Prepares for a first task that will come soon, in the background."""
        ...

    def build_index(self, source: ByteSource, *, check: Check = lambda: None) -> VideoIndex:
        """Returns a video's index. `check` is called often and may raise."""
        ...

    def read_frames(
        self,
        source: ByteSource,
        index: VideoIndex,
        frames: Sequence[int],
        longest_side: int,
        *,
        deadline: float | None = None,
        check: Check = lambda: None,
    ) -> list[Frame]:
        """Returns frames of a video. `check` is called often, from any thread, and may raise."""
        ...


class Sandbox:
    """Builds indexes and reads frames, each in a process of its own. Threads share it. Starts nothing before it must.

    Whatever goes wrong in a process ends that one request, with BadMedia; its reason is one of those that the file
    itself gives, or MEDIA_LIMIT_MEMORY, MEDIA_LIMIT_TIME, MEDIA_LIMIT_READS or MEDIA_CRASHED.
    """

    def __init__(self, limits: MediaLimits | None = None, *, program: str = _WORKER) -> None:
        """Makes a sandbox with these limits. `program` is the module that carries tasks out."""
        self._limits = limits or MediaLimits()
        self._processors = processors()
        count = self._limits.processes or min(max(2, self._processors), MAX_PROCESSES)
        self._slots = threading.BoundedSemaphore(count)
        self._spawner = Spawner(program)

    def start(self) -> None:
        """Prepares for a first task that will come soon, in the background."""
        self._spawner.start()

    def close(self) -> None:
        """Ends all tasks and processes. Closing twice is allowed."""
        self._spawner.close()

    def build_index(self, source: ByteSource, *, check: Check = lambda: None) -> VideoIndex:
        """Demultiplexes a video once and returns its index, as `longvideo.video.build_index` does.

        `check` is called several times a second, and may raise to end the work. Raises BadMedia, Unavailable, and what
        the source raises.
        """
        task = _Task({"do": "index"}, {}, {Kind.INDEX: _MAX_INDEX_BYTES})
        with _sense(source):
            ((_, data),) = self._answers(source, task, Patience(math.inf, check))
            index = VideoIndex.from_bytes(data)
            if (index.size, index.version) != (source.size, source.version):
                raise ValueError("an index of another video")
            return index

    def read_frames(
        self,
        source: ByteSource,
        index: VideoIndex,
        frames: Sequence[int],
        longest_side: int,
        *,
        deadline: float | None = None,
        check: Check = lambda: None,
    ) -> list[Frame]:
        """Returns frames as `longvideo.video.read_frames` does.

        `check` is called several times a second, and may raise to end the work. Raises what `build_index` raises, and
        DeadlineExceeded, InvalidArgument and VideoChanged.
        """
        check_request(source, index, frames, longest_side)
        if not frames:
            return []
        size = fit(index.width, index.height, longest_side)
        part, base = excerpt(index, frames)
        task = _frames_task(part, [frame - base for frame in set(frames)], longest_side, size)
        jpegs: dict[int, bytes] = {}
        with _sense(source):
            for _, data in self._answers(source, task, Patience(math.inf if deadline is None else deadline, check)):
                (number,) = NUMBER.unpack_from(data)
                jpegs[number + base] = data[NUMBER.size :]
                if jpeg_size(jpegs[number + base]) != size:
                    raise ValueError("a picture of another size")
            if not jpegs or jpegs.keys() - set(frames):
                raise ValueError("other pictures than those asked for")
        return [Frame(n, float(index.times[n]), *size, jpegs[n]) for n in frames if n in jpegs]

    def _answers(self, source: ByteSource, task: _Task, patience: Patience) -> Iterator[tuple[Kind, bytes]]:
        header = task.header | {"name": source.name, "size": source.size, "version": source.version}
        header |= {"columns": {name: table.dtype.str for name, table in task.tables.items()}}
        header |= {"memory_bytes": self._limits.memory_bytes}
        header |= {"cpu_seconds": math.ceil(self._limits.seconds * self._processors)}
        with self._slot(source, patience), contextlib.closing(self._spawner.fork()) as child:
            conversation = Conversation(child, source, self._limits, patience)
            with _recorded(task, conversation), _counted(task.header["do"], lambda: conversation.bytes_read):
                conversation.tell(header, [np.ascontiguousarray(table).tobytes() for table in task.tables.values()])
                yield from conversation.answers(task.most)

    @contextlib.contextmanager
    def _slot(self, source: ByteSource, patience: Patience) -> Iterator[None]:
        while not self._slots.acquire(timeout=_SLICE_SECONDS):
            patience.test(source.name)
        try:
            yield
        finally:
            self._slots.release()


@dataclass(frozen=True)
class _Task:
    """A task for a process: what it is told, in JSON and in tables, and how long its answers may be."""

    header: dict[str, Any]
    tables: dict[str, npt.NDArray[Any]]
    most: dict[Kind, int]


def _frames_task(index: VideoIndex, frames: list[int], longest_side: int, size: tuple[int, int]) -> _Task:
    fields = {field.name: getattr(index, field.name) for field in dataclasses.fields(index)}
    tables = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    described = {name: value for name, value in fields.items() if name not in tables}
    described["extradata"] = [(first, data.hex()) for first, data in index.extradata]
    header = {"do": "frames", "index": described, "frames": frames, "longest_side": longest_side}
    return _Task(header, tables, {Kind.FRAME: NUMBER.size + 3 * size[0] * size[1] + _JPEG_HEADER_BYTES})


@contextlib.contextmanager
def _sense(source: ByteSource) -> Iterator[None]:
    """Makes BadMedia of what only a process that was taken over would answer."""
    try:
        yield
    except (ValueError, struct.error, BadIndex) as error:
        raise BadMedia(
            f"{source.name} cannot be read: the process that read it gave an answer that makes no sense; the file may "
            "be an attack",
            reason="MEDIA_CRASHED",
        ) from error


@contextlib.contextmanager
def _recorded(task: _Task, conversation: Conversation) -> Iterator[None]:
    """Makes a span of the work of a process."""
    about = {"longvideo.frames": len(task.header["frames"])} if "frames" in task.header else {}
    with telemetry.span(_SPANS[task.header["do"]], attributes=about) as span:
        try:
            yield
        finally:
            span.set_attribute("longvideo.bytes_read", conversation.bytes_read)


@contextlib.contextmanager
def _counted(task: str, bytes_read: Callable[[], int]) -> Iterator[None]:
    """Counts a process that reads a video within, by how it ends, and what it was given."""
    outcome, started = "given_up", time.monotonic()
    try:
        yield
        outcome = "ok"
    except BadMedia as error:
        outcome = error.reason.lower()
        raise
    except ValueError:
        outcome = "media_crashed"
        raise
    finally:
        metrics.MEDIA_TASKS.labels(task, outcome).inc()
        metrics.MEDIA_TASK_SECONDS.labels(task).observe(time.monotonic() - started)
        metrics.MEDIA_BYTES.labels(task).inc(bytes_read())
