"""Jobs, episodes and usage, over gRPC."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import grpc
from google.protobuf.duration_pb2 import Duration

from longvideo import logs, metrics, segments, usage
from longvideo.errors import InvalidArgument
from longvideo.resources import EpisodeName, JobName, VideoName
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from orchestrator import messages, paging, traces, transcript
from orchestrator.api import checks
from orchestrator.api.access import ALL_TENANTS, Access, ready
from orchestrator.api.backend import Backend
from orchestrator.api.watching import Watching
from orchestrator.store.calls import Place, Sum
from orchestrator.store.jobs import EpisodeView


class JobMethods:
    """The RPCs about jobs, their episodes, events and usage."""

    _backend: Backend
    _access: Access
    _watching: Watching

    def SubmitJob(self, request: pb.SubmitJobRequest, _context: grpc.ServicerContext) -> pb.Job:  # noqa: N802
        """Accepts a job and returns at once."""
        request_id = checks.request_id(request.request_id)
        spec = checks.job(request.job)
        fingerprint = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()
        video = ready(self._access.video(VideoName.parse(spec.video, "job.video")))
        spec.config.CopyFrom(checks.config(self._backend.settings, self._access, spec.config, video, "job.config"))
        checks.priced(self._backend.settings, self._backend.prices, spec)
        spec.limits.CopyFrom(checks.with_default_limits(spec.limits))
        row, new = self._backend.database.jobs.submit(
            spec,
            tenant=self._access.tenant,
            video_id=video.id,
            tree_width=segments.tree_width(video.row.duration, spec.config.min_width),
            request_id=request_id,
            fingerprint=fingerprint,
            traces=traces.submitted,
        )
        job = self._backend.database.jobs.view(JobName(row.id)).message()
        logs.bind(job=job.name)
        if new:
            self._backend.nudge(len(job.episodes))
        return job

    def GetJob(self, request: pb.GetJobRequest, _context: grpc.ServicerContext) -> pb.Job:  # noqa: N802
        """Returns a job with its episodes in BASIC view."""
        name = JobName.parse(request.name)
        self._access.job(name)
        return self._backend.database.jobs.view(name).message()

    def ListJobs(self, request: pb.ListJobsRequest, _context: grpc.ServicerContext) -> pb.ListJobsResponse:  # noqa: N802
        """Lists jobs, newest first, without their episodes."""
        video_id = VideoName.parse(request.video, "video").video_id if request.video else ""
        tenant = self._access.listed(request.tenant)
        size, query = paging.size(request.page_size), f"jobs of {tenant or ALL_TENANTS} about {video_id}"
        rows = self._backend.database.jobs.page(tenant, video_id, paging.decode(request.page_token, query), size + 1)
        jobs = list(paging.fitting(map(messages.job, rows[:size])))
        token = paging.next_token(query, rows, len(jobs), lambda row: paging.Cursor(row.create_time, row.id))
        return pb.ListJobsResponse(jobs=jobs, next_page_token=token)

    def CancelJob(self, request: pb.CancelJobRequest, _context: grpc.ServicerContext) -> pb.Job:  # noqa: N802
        """Asks a job to stop."""
        name = JobName.parse(request.name)
        self._access.job(name)
        metrics.EPISODES.labels("cancelled").inc(self._backend.database.jobs.cancel(name))
        return self._backend.database.jobs.view(name).message()

    def WatchJob(self, request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:  # noqa: N802
        """Streams what happens in a job, from the position given until the job has ended."""
        name = JobName.parse(request.name)
        if request.position < 0:
            raise InvalidArgument(
                f"position is {request.position}; give the last position seen, or 0 for all", field="position"
            )
        self._access.job(name)
        yield from self._watching.watch(name, request.position, context)

    def GetEpisode(self, request: pb.GetEpisodeRequest, _context: grpc.ServicerContext) -> pb.Episode:  # noqa: N802
        """Returns an episode."""
        name = EpisodeName.parse(request.name)
        if request.view not in pb.EpisodeView.values():
            raise InvalidArgument(
                f"view is {request.view}; give EPISODE_VIEW_BASIC (1) or EPISODE_VIEW_FULL (2)", field="view"
            )
        self._access.job(name)
        view = self._backend.database.jobs.episode(name)
        message = next(view.messages())
        if request.view == pb.EPISODE_VIEW_FULL:
            rounds = [messages.round_of(row) for row in view.rounds]
            message.rounds.extend(map(view.writer.round, rounds))
            message.transcript.extend(_transcript(view, rounds))
        return message

    def ListModelCalls(  # noqa: N802
        self, request: pb.ListModelCallsRequest, _context: grpc.ServicerContext
    ) -> pb.ListModelCallsResponse:
        """Lists the model calls of a job or an episode, oldest first."""
        place = self._place(request.parent, "parent")
        size, query = paging.size(request.page_size), f"calls of {request.parent}"
        rows = self._backend.database.calls.page(place, paging.decode(request.page_token, query), size + 1)
        calls = list(paging.fitting(usage.to_proto(messages.call_of(row)) for row in rows[:size]))
        token = paging.next_token(query, rows, len(calls), lambda row: paging.Cursor(row.start_time, row.id))
        return pb.ListModelCallsResponse(model_calls=calls, next_page_token=token)

    def GetUsage(self, request: pb.GetUsageRequest, _context: grpc.ServicerContext) -> pb.Usage:  # noqa: N802
        """Sums the model calls of a job or an episode by role, model and pool."""
        return pb.Usage(rows=map(_usage_row, self._backend.database.calls.sums(self._place(request.name, "name"))))

    def _place(self, text: str, field: str) -> Place:
        name = checks.job_or_episode(text, field)
        self._access.job(name)
        return Place(name.job_id, int(name.episode_id) if isinstance(name, EpisodeName) else None)


def _usage_row(row: Sum) -> pb.UsageRow:
    return pb.UsageRow(
        role=types_pb2.Role.Value(f"ROLE_{row.role.upper()}"),
        model=row.model,
        pool=row.pool,
        call_count=row.calls,
        failed_call_count=row.failed,
        model_duration=_duration(row.seconds),
        prompt_token_count=row.prompt_tokens,
        cached_token_count=row.cached_tokens,
        completion_token_count=row.completion_tokens,
        isolated_duration=_duration(row.isolated),
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def _transcript(view: EpisodeView, rounds: Sequence[transcript.Round]) -> Iterator[pb.Message]:
    """Yields the conversation with the reasoner; nothing before its opening is complete."""
    if view.opening:
        for turn in transcript.messages(view.opening, rounds):
            yield pb.Message(role=turn["role"], text=turn["content"])
