"""What a request must hold. Each check names the field, its value and the fix."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Collection, Sequence
from typing import Literal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from longvideo import priorities, segments
from longvideo.errors import FailedPrecondition, InvalidArgument
from longvideo.prices import PriceBook
from longvideo.resources import EpisodeName, JobName, SubtitlesName, VideoName
from longvideo.settings import Settings
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator.api.access import Access
from orchestrator.messages import HeldVideo, clean, timestamp

MAX_QUESTIONS = 1000
MAX_QUESTION_CHARS = 10_000
MIN_OPTIONS, MAX_OPTIONS = 2, 26
MAX_OPTION_CHARS = 2_000
MAX_ROUNDS, DEFAULT_ROUNDS = 100, 30
DEFAULT_SECONDS, MAX_SECONDS = 3600, 24 * 3600
MAX_NAME_CHARS = 255
MAX_LABEL_CHARS = 63
# What S3 allows.
MAX_OBJECT_KEY_BYTES = 1024
# A job comes back with its questions in it twice, and must then still fit one message.
MAX_JOB_BYTES = 2 * 1024 * 1024

_OPTION = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.)])\s*\S", re.DOTALL)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def display_name(text: str) -> str:
    """Returns what people call something, at most 255 characters long."""
    if len(text) > MAX_NAME_CHARS:
        raise InvalidArgument(
            f"display_name has {len(text)} characters; it may have {MAX_NAME_CHARS}", field="display_name"
        )
    return clean(text)


def source_uri(text: str, buckets: Collection[str]) -> tuple[str, str]:
    """Returns the bucket and the key of an object that may become a video.

    What stands after the bucket is the key, character by character: nothing in it is decoded or resolved.
    """
    bucket, _, key = text.removeprefix("s3://").partition("/")
    names = key.split("/")
    # Names that are empty or relative mean other objects to some servers than to others.
    is_plain = key.isprintable() and "\\" not in key and not {"", ".", ".."} & set(names)
    if not text.startswith("s3://") or not is_plain or len(key.encode()) > MAX_OBJECT_KEY_BYTES:
        raise InvalidArgument(
            f"source_uri is {_shown(text)}; it must be s3://bucket/key, where no part of the key is empty, `.` or `..`",
            field="source_uri",
        )
    if bucket not in buckets:
        raise InvalidArgument(
            f"source_uri is {_shown(text)}; videos are not taken from that bucket, unless the server's operator lists "
            "it in import_buckets. Upload the file instead",
            field="source_uri",
        )
    return bucket, key


def request_id(text: str) -> str:
    """Returns a request id as it is kept: a UUID4 in lower case, or empty."""
    if not text:
        return ""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != 4 or str(parsed) != text.lower():
        raise InvalidArgument(
            f"request_id is {_shown(text)}; it must be a UUID4 such as {uuid.UUID(int=0, version=4)}, or empty",
            field="request_id",
        )
    return str(parsed)


def job_or_episode(name: str, field: str) -> JobName | EpisodeName:
    """Returns the name of a job or of an episode."""
    if "/episodes/" in name:
        return EpisodeName.parse(name, field)
    return JobName.parse(name, field)


def job(sent: pb.Job) -> pb.Job:
    """Returns what a client may say of a job, checked; what it left out is still left out."""
    VideoName.parse(sent.video, "job.video")
    if not 1 <= len(sent.questions) <= MAX_QUESTIONS:
        raise InvalidArgument(
            f"job.questions holds {len(sent.questions)} questions; give 1 to {MAX_QUESTIONS:,}", field="job.questions"
        )
    size = sent.ByteSize()
    if size > MAX_JOB_BYTES:
        raise InvalidArgument(
            f"the job has {size:,} bytes; it may have {MAX_JOB_BYTES:,}. Split it into several", field="job"
        )
    questions = [question(each, f"job.questions[{number}]") for number, each in enumerate(sent.questions)]
    priorities.rank(sent.priority, "job.priority")
    priority = sent.priority or types_pb2.PRIORITY_INTERACTIVE
    checked = pb.Job(
        video=sent.video,
        questions=questions,
        limits=_limits(sent.limits),
        priority=priority,
        label=label(sent.label, "job.label"),
    )
    checked.config.CopyFrom(sent.config)
    if sent.budget.ByteSize():
        checked.budget.CopyFrom(_budget(sent.budget, "job.budget"))
    return checked


def label(text: str, field: str) -> str:
    """Returns what costs are grouped by, without the space around it; perhaps empty."""
    stripped = text.strip()
    if len(stripped) > MAX_LABEL_CHARS or not stripped.isprintable():
        raise InvalidArgument(
            f"{field} is {_shown(text)}; it must have at most {MAX_LABEL_CHARS} characters, all of them printable",
            field=field,
        )
    return stripped


def question(sent: pb.Question, field: str) -> pb.Question:
    """Returns a question without the space around its text and options."""
    text = clean(sent.text).strip()
    if not 1 <= len(text) <= MAX_QUESTION_CHARS:
        what = "is empty" if not text else f"has {len(text):,} characters"
        raise InvalidArgument(
            f"{field}.text {what}; a question has 1 to {MAX_QUESTION_CHARS:,} characters", field=f"{field}.text"
        )
    options = _options(sent.options, f"{field}.options")
    return pb.Question(text=text, options=options, truth=_truth(sent.truth, len(options), f"{field}.truth"))


def _truth(sent: str, options: int, field: str) -> str:
    """Returns the right answer: of a question with options, its letter in upper case."""
    truth = clean(sent).strip()
    if len(truth) > MAX_QUESTION_CHARS:
        raise InvalidArgument(f"{field} has {len(truth):,} characters; it may have {MAX_QUESTION_CHARS:,}", field=field)
    letters = [chr(ord("A") + number) for number in range(options)]
    if letters and truth and truth.upper() not in letters:
        raise InvalidArgument(
            f"{field} is {_shown(truth)}; it must be the letter of the right option, {letters[0]} to {letters[-1]}, or "
            "empty where it is not known",
            field=field,
        )
    return truth.upper() if letters else truth


def _options(sent: Sequence[str], field: str) -> list[str]:
    if sent and not MIN_OPTIONS <= len(sent) <= MAX_OPTIONS:
        raise InvalidArgument(
            f"{field} holds {len(sent)} option{'s' * (len(sent) > 1)}; give none, or {MIN_OPTIONS} to {MAX_OPTIONS}",
            field=field,
        )
    options = []
    for number, option in enumerate(clean(each).strip() for each in sent):
        letter, match = chr(ord("A") + number), _OPTION.match(option)
        if match is None or letter not in match.groups():
            raise InvalidArgument(
                f"{field}[{number}] is {_shown(option)}; it must start with its letter: `{letter}. …`, `{letter}) …` "
                f"or `({letter}) …`",
                field=f"{field}[{number}]",
            )
        if len(option) > MAX_OPTION_CHARS:
            raise InvalidArgument(
                f"{field}[{number}] has {len(option):,} characters; an option may have {MAX_OPTION_CHARS:,}",
                field=f"{field}[{number}]",
            )
        options.append(option)
    return options


def _limits(sent: pb.EpisodeLimits) -> pb.EpisodeLimits:
    if not 0 <= sent.max_rounds <= MAX_ROUNDS:
        raise InvalidArgument(
            f"job.limits.max_rounds is {sent.max_rounds}; give 1 to {MAX_ROUNDS}, or 0 for {DEFAULT_ROUNDS}",
            field="job.limits.max_rounds",
        )
    if sent.HasField("max_duration"):
        seconds = sent.max_duration.seconds + sent.max_duration.nanos / 1e9
        if not 0 < seconds <= MAX_SECONDS:
            raise InvalidArgument(
                f"job.limits.max_duration is {seconds:g} s; it must be above 0 and at most {MAX_SECONDS:,} s (24 h), "
                "or left out for one hour",
                field="job.limits.max_duration",
            )
    return sent


def _budget(sent: pb.Budget, field: str) -> pb.Budget:
    for name in ("max_cost", "max_gpu_seconds"):
        value = getattr(sent, name)
        if not (math.isfinite(value) and value >= 0):
            raise InvalidArgument(
                f"{field}.{name} is {value:g}; give a number above 0, or 0 for no such bound", field=f"{field}.{name}"
            )
    return sent


def priced(settings: Settings, book: PriceBook | None, job: pb.Job) -> None:
    """Raises FailedPrecondition for a bound on the cost of a job whose calls might have no price."""
    if not job.budget.max_cost:
        return
    said = f"job.budget.max_cost is {job.budget.max_cost:g}, and "
    fix = "; give max_gpu_seconds, or let the server's operator "
    if book is None:
        raise FailedPrecondition(
            f"{said}the server has no price book{fix}set price_book",
            reason="PRICE_UNKNOWN",
            field="job.budget.max_cost",
        )
    pool, now = job.config.pool, time.time()
    pools = {each.pool for each in settings.endpoints if each.gpus and pool in {"", each.pool}}
    if unknown := sorted(each for each in pools if book.price(each, now) is None):
        raise FailedPrecondition(
            f"{said}the price book has no price for {', '.join(unknown)}, where its calls may be served{fix}add it",
            reason="PRICE_UNKNOWN",
            field="job.budget.max_cost",
        )


def with_default_limits(limits: pb.EpisodeLimits) -> pb.EpisodeLimits:
    """Returns the limits with what was left out filled in."""
    duration = limits.max_duration if limits.HasField("max_duration") else Duration(seconds=DEFAULT_SECONDS)
    return pb.EpisodeLimits(max_rounds=limits.max_rounds or DEFAULT_ROUNDS, max_duration=duration)


def config(
    settings: Settings, access: Access, sent: pb.TreeConfig, video: HeldVideo, field: str = "config"
) -> pb.TreeConfig:
    """Returns how a video is cut and captioned, with what was left out filled in.

    Raises InvalidArgument, and NotFound for subtitles that the video does not have.
    """
    if sent.min_width and not segments.MIN_WIDTH <= sent.min_width <= segments.MAX_WIDTH:
        raise InvalidArgument(
            f"{field}.min_width is {sent.min_width}; give {segments.MIN_WIDTH} to {segments.MAX_WIDTH}, or 0 for "
            f"{settings.min_width}",
            field=f"{field}.min_width",
        )
    if sent.sampling not in types_pb2.Sampling.values():
        raise InvalidArgument(
            f"{field}.sampling is {sent.sampling}; give SAMPLING_TRAINED (1) or SAMPLING_LIGHT (2)",
            field=f"{field}.sampling",
        )
    pools = {endpoint.pool for endpoint in settings.endpoints}
    if sent.pool and pools and sent.pool not in pools:
        raise InvalidArgument(
            f"{field}.pool is {_shown(sent.pool)}; no model server is in it. The pools are {', '.join(sorted(pools))}",
            field=f"{field}.pool",
        )
    return pb.TreeConfig(
        min_width=sent.min_width or settings.min_width,
        sampling=sent.sampling or types_pb2.Sampling.Value(f"SAMPLING_{settings.sampling.upper()}"),
        subtitles=_subtitles(access, sent.subtitles, video, f"{field}.subtitles"),
        pool=sent.pool,
    )


def _subtitles(access: Access, sent: str, video: HeldVideo, field: str) -> str:
    if not sent:
        own = video.holding.subtitles
        return str(SubtitlesName(video.id, own)) if own else ""
    name = SubtitlesName.parse(sent, field)
    if name.video_id != video.id:
        raise InvalidArgument(
            f"{field} is {sent}, which belongs to another video; give subtitles of {VideoName(video.id)}", field=field
        )
    access.subtitles(name, video)
    return sent


def moment(
    request: pb.ExportUsageRequest | pb.GetCostReportRequest, field: Literal["start_time", "end_time"]
) -> float | None:
    """Returns a time of the request in seconds since the epoch, or None for one that is left out."""
    if not request.HasField(field):
        return None
    sent: Timestamp = getattr(request, field)
    try:
        return sent.ToNanoseconds() / 1e9
    except ValueError:
        raise InvalidArgument(
            f"{field} has {sent.seconds} seconds and {sent.nanos} nanos, which is no time; give one between the years "
            "1 and 9999, with 0 to 999,999,999 nanos",
            field=field,
        ) from None


def in_order(start: float, end: float) -> None:
    """Raises InvalidArgument for a range of time that ends before it starts."""
    if start > end:
        sent = timestamp(start).ToJsonString()
        raise InvalidArgument(
            f"start_time is {sent}, which is after the end of the range; give an earlier one, or a later end_time",
            field="start_time",
        )


def cost_dimensions(asked: Sequence[int]) -> tuple[str, ...]:
    """Returns the names of what a report of cost is grouped by."""
    found = []
    for number, value in enumerate(asked):
        if value not in pb.CostDimension.values() or not value:
            names = ", ".join(name for name in pb.CostDimension.keys()[1:])
            raise InvalidArgument(f"group_by[{number}] is {value}; give one of {names}", field=f"group_by[{number}]")
        name = pb.CostDimension.Name(pb.CostDimension.ValueType(value)).removeprefix("COST_DIMENSION_").lower()
        if name in found:
            raise InvalidArgument(f"group_by has {name} twice; take one out", field=f"group_by[{number}]")
        found.append(name)
    return tuple(found)
