"""How things are written for a person: times, spans, names, and text that came from a video or a model."""

from __future__ import annotations

import unicodedata
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from longvideo import segments
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

# Directions that could make a line read other than it is stored.
_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def seconds(duration: Duration) -> float:
    """Returns a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def instant(timestamp: Timestamp) -> float:
    """Returns a moment in seconds since the epoch."""
    return timestamp.seconds + timestamp.nanos / 1e9


def local_time(timestamp: Timestamp) -> str:
    """Returns a moment as `2026-03-01 14:05`, in this machine's time zone; empty for one that is not set."""
    return (
        datetime.fromtimestamp(timestamp.seconds).astimezone().strftime("%Y-%m-%d %H:%M") if timestamp.seconds else ""
    )


def clean(text: str) -> str:
    """Returns the text without anything that a terminal would obey; lines and words stay.

    Captions, answers and file names come from models, subtitles and pictures: a video must not be able to move
    somebody's cursor.
    """
    kept = (
        character if character == "\n" else " " if character == "\t" else "" if _obeyed(character) else character
        for character in text
    )
    return "".join(kept).encode(errors="replace").decode()


def _obeyed(character: str) -> bool:
    return character in _BIDI or unicodedata.category(character) == "Cc"


def one_line(text: str, limit: int | None = None) -> str:
    """Returns the text cleaned, on one line, cut to at most `limit` characters."""
    line = " ".join(clean(text).split())
    if limit is None or len(line) <= limit:
        return line
    return line[: limit - 1].rsplit(" ", 1)[0].rstrip(",.;: ") + " …"


def clock(moment: float, *, fine: bool = False) -> str:
    """Returns seconds as `3:07` or `1:02:03`; with tenths, `3:07.5`, when `fine`."""
    tenths = max(0, int(moment * 10 + 1e-6))
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{tenths // 10:02d}" + (f".{tenths % 10}" if fine else "")
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def path(segment: types_pb2.Segment) -> str:
    """Returns `(2,4)`."""
    return f"({','.join(map(str, segment.path))})"


def level(segment: types_pb2.Segment) -> str:
    """Returns `high`, `medium` or `low`."""
    return segments.LEVEL_NAMES[len(segment.path) - 1] if 0 < len(segment.path) <= segments.LEVELS else ""


def span(segment: types_pb2.Segment) -> str:
    """Returns `3:07–3:45`, with tenths when the segment lasts less than ten seconds."""
    start, end = seconds(segment.start_offset), seconds(segment.end_offset)
    fine = end - start < 10
    return f"{clock(start, fine=fine)}–{clock(end, fine=fine)}"


def place(segment: types_pb2.Segment) -> str:
    """Returns `(2,4) 3:07–3:45`."""
    return f"{path(segment)} {span(segment)}"


def share(fraction: float) -> str:
    """Returns a share as a percentage: `12.5 %`."""
    return f"{100 * fraction:.1f} %"


def size(count: int) -> str:
    """Returns a number of bytes: `1.4 GB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def plural(count: int, noun: str) -> str:
    """Returns `1 caption` or `7 captions`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def video(message: types_pb2.Video) -> str:
    """Returns what a person wants to know about a video on one line."""
    parts = [
        one_line(message.display_name, 80) or message.name,
        clock(seconds(message.duration)),
        f"{message.width_px}×{message.height_px}",
        message.codec,
        f"{message.frame_rate:.4g} frames/s",
        size(message.size_bytes),
        "with subtitles" if message.subtitles else "no subtitles",
    ]
    return " · ".join(part for part in parts if part)


def state(value: int) -> str:
    """Returns a job's state as a word."""
    return pb.Job.State.Name(pb.Job.State.ValueType(value)).removeprefix("STATE_").lower()


def episode_state(value: int) -> str:
    """Returns an episode's state as a word."""
    return pb.Episode.State.Name(pb.Episode.State.ValueType(value)).removeprefix("STATE_").lower()


def right(job: pb.Job) -> str:
    """Returns how many of a job's answers are right, `12 of 15 right`; empty where nobody knows."""
    return f"{job.correct_count:,} of {job.judged_count:,} right" if job.judged_count else ""


def budget(job: pb.Job) -> str:
    """Returns what a job has spent of its budget: `3.2 of 100 GPU-seconds`."""
    spent, parts = job.spending, list[str]()
    if job.budget.max_gpu_seconds:
        parts.append(f"{spent.gpu_seconds:,.1f} of {job.budget.max_gpu_seconds:,g} GPU-seconds")
    if job.budget.max_cost:
        cost = f"{spent.cost:,.4g}" if spent.HasField("cost") else "an unknown part"
        parts.append(f"{cost} of {job.budget.max_cost:,g} in the price book's currency")
    free = "" if spent.gpu_seconds else "; models that are not said to use a GPU take nothing"
    return f"spent {' and '.join(parts)}{free}"


def ending(value: int) -> str:
    """Returns an ending as a word: `answered`, `rounds_exhausted`."""
    name = pb.Episode.Ending.Name(pb.Episode.Ending.ValueType(value)).removeprefix("ENDING_").lower()
    return "" if name == "unspecified" else name


def outcome(value: int) -> str:
    """Returns how a model call ended, as a word."""
    name = types_pb2.ModelCall.Outcome.Name(types_pb2.ModelCall.Outcome.ValueType(value))
    return name.removeprefix("OUTCOME_").lower()


def role(value: int) -> str:
    """Returns a role as a word."""
    return types_pb2.Role.Name(types_pb2.Role.ValueType(value)).removeprefix("ROLE_").lower()


def priority(value: int) -> str:
    """Returns a priority as a word."""
    return types_pb2.Priority.Name(types_pb2.Priority.ValueType(value)).removeprefix("PRIORITY_").lower()
