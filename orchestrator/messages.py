"""Rows of the database as the wire's messages, and the loop's data as both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from google.protobuf.timestamp_pb2 import Timestamp

from longvideo import usage
from longvideo.resources import EpisodeName, JobName, SubtitlesName, VideoName
from longvideo.segments import Segment, Tree
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator.coverage import Look, coverage, evidence
from orchestrator.protocol import Action, Answer, GetCaption, VideoQA
from orchestrator.tables import CallRow, EpisodeRow, HoldingRow, JobRow, RoundRow, VideoRow
from orchestrator.timeline import Timeline
from orchestrator.transcript import Round

JOB_STATES = {
    name: pb.Job.State.Value(f"STATE_{name.upper()}")
    for name in ("pending", "running", "succeeded", "failed", "cancelled")
}
EPISODE_STATES = {
    name: pb.Episode.State.Value(f"STATE_{name.upper()}")
    for name in ("pending", "running", "answered", "unanswered", "failed", "cancelled")
}
ENDINGS = {
    name: pb.Episode.Ending.Value(f"ENDING_{name.upper() or 'UNSPECIFIED'}")
    for name in (
        "",
        "answered",
        "rounds_exhausted",
        "time_exhausted",
        "invalid_output",
        "context_exhausted",
        "cancelled",
        "error",
        "budget_exhausted",
    )
}


def clean(text: str) -> str:
    """Returns a text that databases and the wire can hold.

    A model can emit halves of surrogate pairs, which UTF-8 cannot say, and zero characters, which PostgreSQL refuses.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def timestamp(seconds: float) -> Timestamp:
    """Returns a moment in seconds since the epoch as a message. Microseconds are all that a float holds."""
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


class HeldVideo(NamedTuple):
    """A video as the tenant sees it that has it."""

    row: VideoRow
    holding: HoldingRow

    @property
    def id(self) -> str:
        """The video's id, which is the SHA-256 of its bytes."""
        return self.row.id

    @property
    def is_ready(self) -> bool:
        """Whether the bytes are there, and the tenant has shown that it has them."""
        return self.row.state == self.holding.state == "ready"


def video(held: HeldVideo) -> types_pb2.Video:
    """Returns a video."""
    row, holding = held
    message = types_pb2.Video(
        name=str(VideoName(row.id)),
        state=types_pb2.Video.STATE_PENDING,
        size_bytes=holding.size_bytes,
        display_name=holding.display_name,
        create_time=timestamp(holding.create_time),
    )
    if not held.is_ready:
        return message
    message.state = types_pb2.Video.STATE_READY
    message.size_bytes = row.size_bytes
    message.frame_count, message.frame_rate = row.frame_count, row.frame_rate
    message.width_px, message.height_px = row.width_px, row.height_px
    message.container, message.codec = row.container, row.codec
    message.warnings.extend(row.warnings)
    message.subtitles = str(SubtitlesName(row.id, holding.subtitles)) if holding.subtitles else ""
    message.duration.FromNanoseconds(round(row.duration * 1e9))
    return message


def job(row: JobRow, episodes: Iterable[pb.Episode] = ()) -> pb.Job:
    """Returns a job, with the episodes given."""
    message = pb.Job.FromString(row.spec)
    message.name = str(JobName(row.id))
    message.tenant = row.tenant_id
    message.waiting_reason = row.waiting
    message.state = JOB_STATES[row.state]
    message.spending.gpu_seconds = row.gpu_seconds
    if row.cost is not None:
        message.spending.cost = row.cost
    message.judged_count, message.correct_count = row.judged_count, row.correct_count
    message.create_time.CopyFrom(timestamp(row.create_time))
    if row.end_time is not None:
        message.end_time.CopyFrom(timestamp(row.end_time))
    message.episodes.extend(episodes)
    return message


class EpisodeWriter:
    """Writes the messages of one video's episodes, whose segments need the video's times."""

    def __init__(self, video_row: VideoRow, timeline: bytes, width: int) -> None:
        self._video = str(VideoName(video_row.id))
        self.tree = Tree(video_row.frame_count, width)
        self._timeline = Timeline(timeline, width)

    def episode(self, row: EpisodeRow, looks: Sequence[Look]) -> pb.Episode:
        """Returns an episode in BASIC view. `looks` are its finished rounds that opened something, in order."""
        message = pb.Episode(
            name=str(EpisodeName(row.job_id, str(row.number))),
            video=self._video,
            question=pb.Question(text=row.question, options=row.options, truth=row.truth),
            state=EPISODE_STATES[row.state],
            ending=ENDINGS[row.ending],
            answer=row.answer,
            choice=row.choice,
            round_count=row.round_count,
            tree_width=self.tree.width,
            correct=row.correct,
            create_time=timestamp(row.create_time),
        )
        if row.error_reason:
            message.error.code = row.error_code
            message.error.reason, message.error.message = row.error_reason, row.error_message
        if row.start_time is not None:
            message.start_time.CopyFrom(timestamp(row.start_time))
        if row.end_time is not None:
            message.end_time.CopyFrom(timestamp(row.end_time))
        for found in evidence(looks):
            message.evidence.add(
                segment=self._timeline.message(found.segment),
                round=found.round,
                captioned=found.captioned,
                inspected=found.inspected,
            )
        opened, low, inspected = coverage(looks, self.tree)
        message.coverage.opened_fraction = opened
        message.coverage.low_fraction = low
        message.coverage.inspected_fraction = inspected
        return message

    def action(self, action: Action) -> pb.Action:
        """Returns what the reasoner decided to do."""
        match action:
            case GetCaption(segment):
                return pb.Action(get_caption=pb.GetCaption(segment=self.segment(segment)))
            case VideoQA(segment, query):
                return pb.Action(video_qa=pb.VideoQA(segment=self.segment(segment), query=clean(query)))
            case Answer(text):
                return pb.Action(answer=pb.FinalAnswer(text=clean(text)))

    def round(self, step: Round) -> pb.Round:
        """Returns a round."""
        message = pb.Round(
            number=step.number,
            thought=clean(step.thought),
            action=self.action(step.action),
            observation=clean(step.observation),
            repeated=step.repeated,
            cached=step.cached,
            corrections=map(clean, step.corrections),
            start_time=timestamp(step.start_time),
        )
        if step.end_time is not None:
            message.end_time.CopyFrom(timestamp(step.end_time))
        return message

    def segment(self, segment: Segment) -> types_pb2.Segment:
        """Returns a segment with its times."""
        return self._timeline.message(segment)


def path_text(segment: Segment | None) -> str:
    """Returns a segment's path as rows hold it: `2,4,1`; empty for none."""
    return ",".join(map(str, segment.path)) if segment else ""


def path_segment(text: str) -> Segment:
    """Returns the segment of what `path_text` gave."""
    return Segment(tuple(map(int, text.split(","))))


def round_values(step: Round) -> dict[str, object]:
    """Returns what a row holds of a round."""
    match step.action:
        case GetCaption(segment):
            action, path, text = "get_caption", path_text(segment), ""
        case VideoQA(segment, text):
            action, path = "video_qa", path_text(segment)
        case Answer(text):
            action, path = "answer", ""
    return {
        "number": step.number,
        "thought": clean(step.thought),
        "action": action,
        "path": path,
        "text": clean(text),
        "observation": clean(step.observation),
        "notice": step.notice,
        "repeated": step.repeated,
        "cached": step.cached,
        "corrections": list(map(clean, step.corrections)),
        "start_time": step.start_time,
        "end_time": step.end_time,
    }


def round_of(row: RoundRow) -> Round:
    """Returns the round that a row holds."""
    action: Action
    match row.action:
        case "get_caption":
            action = GetCaption(path_segment(row.path))
        case "video_qa":
            action = VideoQA(path_segment(row.path), row.text)
        case _:
            action = Answer(row.text)
    return Round(
        number=row.number,
        thought=row.thought,
        action=action,
        observation=row.observation,
        notice=row.notice,
        repeated=row.repeated,
        cached=row.cached,
        corrections=list(row.corrections),
        start_time=row.start_time,
        end_time=row.end_time,
    )


def call_of(row: CallRow) -> usage.Call:
    """Returns the model call that a row holds."""
    return usage.Call(
        id=row.id,
        role=cast(usage.Role, row.role),
        model=row.model,
        endpoint=row.endpoint,
        pool=row.pool,
        gpus=row.gpus,
        start_time=row.start_time,
        seconds=row.seconds,
        outcome=cast(usage.Outcome, row.outcome),
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        completion_tokens=row.completion_tokens,
        images=row.images,
        attempt=row.attempt,
        detail=row.detail,
        queue_seconds=row.queue_seconds,
        prefill_seconds=row.prefill_seconds,
        decode_seconds=row.decode_seconds,
    )
