"""An orchestrator that answers from a script: what the command line is tested against."""

# ruff: noqa: N802

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from longvideo import rpc
from longvideo.errors import LongVideoError, NotFound, Unavailable
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import orchestrator_pb2_grpc, types_pb2

WIDTH = 4
SECONDS = 600.0
START = 1_800_000_000.0


def moment(offset: float) -> Timestamp:
    """Returns a moment `offset` seconds after the start."""
    stamp = Timestamp()
    stamp.FromNanoseconds(round((START + offset) * 1e9))
    return stamp


def lasting(seconds: float) -> Duration:
    """Returns a duration."""
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def segment(*path: int) -> types_pb2.Segment:
    """Returns a segment of a video of ten minutes."""
    start, length = 0.0, SECONDS
    for number in path:
        length /= WIDTH
        start += (number - 1) * length
    return types_pb2.Segment(path=path, start_offset=lasting(start), end_offset=lasting(start + length))


def caption(*path: int, text: str = "A harbour at dawn.") -> types_pb2.Caption:
    """Returns a caption."""
    return types_pb2.Caption(segment=segment(*path), text=text, model="m", frame_count=32)


def opening(*path: int) -> pb.Action:
    """Returns the action that reads a caption."""
    return pb.Action(get_caption=pb.GetCaption(segment=segment(*path)))


def looking(*path: int, query: str) -> pb.Action:
    """Returns the action that asks the qa model."""
    return pb.Action(video_qa=pb.VideoQA(segment=segment(*path), query=query))


def answering(text: str) -> pb.Action:
    """Returns the action that answers."""
    return pb.Action(answer=pb.FinalAnswer(text=text))


def rounds(answer: str = "The red boat") -> list[pb.Round]:
    """Returns the rounds of an episode that finds its answer in three rounds."""
    steps = [
        (
            "The harbour is in the second part.",
            opening(2, 4),
            "Medium-level caption of (2,4) [262.5s - 300.0s]: boats leave.",
        ),
        (
            "Look closely.",
            looking(2, 4, 1, query="Which boat?"),
            "<information>(2,4,1) [262.5s - 271.9s]: the red boat</information>",
        ),
        ("That settles it.", answering(answer), ""),
    ]
    return [
        pb.Round(
            number=number,
            thought=thought,
            action=action,
            observation=told,
            start_time=moment(number),
            end_time=moment(number + 0.5),
        )
        for number, (thought, action, told) in enumerate(steps, 1)
    ]


def usage() -> pb.Usage:
    """Returns what two models took."""
    return pb.Usage(
        rows=[
            pb.UsageRow(
                role=types_pb2.ROLE_REASON,
                model="thinker",
                pool="h800",
                call_count=3,
                model_duration=lasting(1.5),
                prompt_token_count=12_345,
                cached_token_count=10_000,
                completion_token_count=321,
                isolated_duration=lasting(1.8),
            ),
            pb.UsageRow(
                role=types_pb2.ROLE_CAPTION,
                model="seer",
                pool="h800",
                call_count=5,
                failed_call_count=1,
                model_duration=lasting(20),
                prompt_token_count=50_000,
                completion_token_count=900,
                isolated_duration=lasting(21),
            ),
        ]
    )


class FakeOrchestrator(orchestrator_pb2_grpc.OrchestratorServiceServicer):
    """Keeps videos and jobs in memory. Every question ends as `episode` says; `fail` maps a method to its error.

    `hang` makes every watch wait, after its events, until the job is cancelled.
    """

    def __init__(self, uploads: Path) -> None:
        self.address = ""
        self.uploads = uploads
        self.episode = pb.Episode(
            state=pb.Episode.STATE_ANSWERED,
            ending=pb.Episode.ENDING_ANSWERED,
            answer="The red boat",
            evidence=[
                pb.Evidence(segment=segment(2, 4), round=1, captioned=True),
                pb.Evidence(segment=segment(2, 4, 1), round=2, captioned=False, inspected=True),
            ],
            coverage=pb.Coverage(opened_fraction=0.0625, low_fraction=0.015625, inspected_fraction=0.015625),
            round_count=3,
            tree_width=WIDTH,
            start_time=moment(0),
            end_time=moment(4),
            rounds=rounds(),
        )
        self.captions = [caption(1), caption(2), caption(2, 4, text="Boats leave.")]
        self.fail: dict[str, LongVideoError] = {}
        self.hang = False
        self.ledger: list[pb.ExportUsageResponse] = []
        self.drop_watch_after: int | None = None
        self.watched_from: list[int] = []
        self.videos: dict[str, types_pb2.Video] = {}
        self.jobs: dict[str, pb.Job] = {}
        self.requests: list[Any] = []

    def serve(self) -> rpc.Server:
        """Starts a server."""
        add = orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server
        return rpc.serve([("longvideo.v1.OrchestratorService", add, self)])

    def _noted(self, request: Any, method: str) -> None:
        self.requests.append(request)
        if method in self.fail:
            raise self.fail[method]

    def _video(self, name: str) -> types_pb2.Video:
        if name not in self.videos:
            raise NotFound(f"there is no video {name}")
        return self.videos[name]

    def CreateVideo(self, request: pb.CreateVideoRequest, context: grpc.ServicerContext) -> pb.CreateVideoResponse:
        self._noted(request, "CreateVideo")
        name = f"videos/{request.sha256}"
        video = self.videos.setdefault(
            name,
            types_pb2.Video(
                name=name,
                state=types_pb2.Video.STATE_PENDING,
                size_bytes=request.size_bytes,
                display_name=request.display_name,
                create_time=moment(0),
            ),
        )
        ready = video.state == types_pb2.Video.STATE_READY
        folder = self.uploads / request.sha256
        folder.mkdir(parents=True, exist_ok=True)
        return pb.CreateVideoResponse(video=video, upload_uri="" if ready else (folder / request.sha256).as_uri())

    def CompleteVideo(self, request: pb.CompleteVideoRequest, context: grpc.ServicerContext) -> types_pb2.Video:
        self._noted(request, "CompleteVideo")
        video = self._video(request.name)
        digest = request.name.removeprefix("videos/")
        uploaded = self.uploads / digest / digest
        assert uploaded.stat().st_size == video.size_bytes
        video.state = types_pb2.Video.STATE_READY
        video.duration.FromNanoseconds(round(SECONDS * 1e9))
        video.width_px, video.height_px, video.codec, video.container = 1280, 720, "h264", "mp4"
        video.frame_count, video.frame_rate = 15_000, 25.0
        return video

    def GetVideo(self, request: pb.GetVideoRequest, context: grpc.ServicerContext) -> types_pb2.Video:
        self._noted(request, "GetVideo")
        return self._video(request.name)

    def ListVideos(self, request: pb.ListVideosRequest, context: grpc.ServicerContext) -> pb.ListVideosResponse:
        self._noted(request, "ListVideos")
        found = list(self.videos.values())
        start = int(request.page_token or 0)
        page = found[start : start + (request.page_size or 2)]
        end = start + len(page)
        return pb.ListVideosResponse(videos=page, next_page_token=str(end) if end < len(found) else "")

    def CreateSubtitles(self, request: pb.CreateSubtitlesRequest, context: grpc.ServicerContext) -> types_pb2.Subtitles:
        self._noted(request, "CreateSubtitles")
        video = self._video(request.parent)
        video.subtitles = f"{request.parent}/subtitles/s1"
        return types_pb2.Subtitles(name=video.subtitles, cue_count=1, warnings=["1 cue lies past the end"])

    def GetTree(self, request: pb.GetTreeRequest, context: grpc.ServicerContext) -> pb.Tree:
        self._noted(request, "GetTree")
        known = {tuple(made.segment.path): made for made in self.captions}
        path = tuple(request.path)
        every = [(h,) for h in range(1, WIDTH + 1)] + [(h, m) for h in range(1, 5) for m in range(1, 5)]
        wanted = [known.get(p, types_pb2.Caption(segment=segment(*p))) for p in sorted(every) if p[: len(path)] == path]
        return pb.Tree(video=request.video, width=WIDTH, captions=wanted)

    def BuildTree(self, request: pb.BuildTreeRequest, context: grpc.ServicerContext) -> Iterator[pb.BuildTreeResponse]:
        self._noted(request, "BuildTree")
        for done in range(1, WIDTH + 1):
            yield pb.BuildTreeResponse(
                caption=caption(done),
                done_count=done,
                total_count=WIDTH,
                cached=done == 1,
                calls=[types_pb2.ModelCall()] * (done > 1),
            )
        while self.hang and context.is_active():
            time.sleep(0.01)

    def SubmitJob(self, request: pb.SubmitJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._noted(request, "SubmitJob")
        job = pb.Job()
        job.CopyFrom(request.job)
        job.name = f"jobs/j{len(self.jobs) + 1}"
        job.state = pb.Job.STATE_RUNNING
        job.create_time.CopyFrom(moment(0))
        for number, question in enumerate(job.questions, 1):
            episode = job.episodes.add()
            episode.CopyFrom(self.episode)
            episode.name = f"{job.name}/episodes/{number}"
            episode.question.CopyFrom(question)
        self.jobs[job.name] = job
        return job

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.Job:
        self._noted(request, "GetJob")
        if request.name not in self.jobs:
            raise NotFound(f"there is no job {request.name}")
        return self.jobs[request.name]

    def ListJobs(self, request: pb.ListJobsRequest, context: grpc.ServicerContext) -> pb.ListJobsResponse:
        self._noted(request, "ListJobs")
        jobs = [job for job in self.jobs.values() if request.video in ("", job.video)]
        return pb.ListJobsResponse(jobs=reversed(jobs))

    def CancelJob(self, request: pb.CancelJobRequest, context: grpc.ServicerContext) -> pb.Job:
        job = self.GetJob(pb.GetJobRequest(name=request.name), context)
        job.state = pb.Job.STATE_CANCELLED
        self.requests.append(request)
        return job

    def events(self, name: str) -> Iterator[dict[str, Any]]:
        """Yields the events of one episode as keyword arguments of JobEvent."""
        yield {"episode_started": pb.EpisodeStarted(tree_width=WIDTH)}
        for done in range(1, WIDTH + 1):
            ready = pb.CaptionReady(caption=caption(done), cached=done == 1, done_count=done, total_count=WIDTH)
            yield {"caption_ready": ready}
        for step in self.episode.rounds:
            decided = pb.RoundDecided(number=step.number, thought=step.thought, action=step.action)
            yield {"round_decided": decided}
            yield {"round_finished": pb.RoundFinished(round=step)}
        if not self.hang:
            ended = pb.Episode()
            ended.CopyFrom(self.episode)
            ended.name = name
            yield {"episode_ended": ended}

    def WatchJob(self, request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        self._noted(request, "WatchJob")
        self.watched_from.append(request.position)
        job = self.GetJob(pb.GetJobRequest(name=request.name), context)
        events = [(episode.name, event) for episode in job.episodes for event in self.events(episode.name)]
        for position, (name, event) in enumerate(events, 1):
            if position <= request.position:
                continue
            yield pb.JobEvent(position=position, time=moment(position / 10), episode=name, **event)
            if self.drop_watch_after == position:
                self.drop_watch_after = None
                raise Unavailable("gone")
        while self.hang and context.is_active() and job.state != pb.Job.STATE_CANCELLED:
            time.sleep(0.01)

    def GetEpisode(self, request: pb.GetEpisodeRequest, context: grpc.ServicerContext) -> pb.Episode:
        self._noted(request, "GetEpisode")
        job = self.jobs[request.name.partition("/episodes/")[0]]
        return next(episode for episode in job.episodes if episode.name == request.name)

    def ExportUsage(
        self, request: pb.ExportUsageRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ExportUsageResponse]:
        self._noted(request, "ExportUsage")
        yield from self.ledger

    def GetUsage(self, request: pb.GetUsageRequest, context: grpc.ServicerContext) -> pb.Usage:
        self._noted(request, "GetUsage")
        return usage()
