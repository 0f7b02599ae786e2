"""The gRPC client of the orchestrator: videos, jobs, trees.

    with connection.open_client(where) as client:
        video = client.add_video(Path("talk.mp4"))
        job = client.submit(video.name, [Question(text="Who speaks first?")])
        for event in client.watch(job.name):
            ...

Every method raises the errors of `longvideo.errors` that the orchestrator raised.
"""

from __future__ import annotations

import functools
import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from client import uploads
from longvideo import errors
from longvideo.priorities import Priority
from longvideo.resources import VideoName
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import orchestrator_pb2_grpc, types_pb2

Progress = Callable[[str, float, float], None]
"""Told what is being done, how much of it is done, and of how much (0 when nobody knows)."""

# Every call but those below answers from the database.
CALL_SECONDS = 60.0
# Indexing reads the container's structure once: minutes for ten hours of MPEG-TS on a slow disk.
INDEX_SECONDS = 3600.0
# A report of cost reads the ledger of its period: about a minute for millions of calls.
REPORT_SECONDS = 600.0
# A watch ends by itself with its job; a server ends it sooner, and the client takes it up again.
WATCH_SECONDS = 24 * 3600.0
# How long a watch that lost its server keeps trying to find it again.
PATIENCE_SECONDS = 30.0

_CHUNK = 8 * 1024 * 1024
_Answer = TypeVar("_Answer")


def _unseen(_what: str, _done: float, _total: float) -> None:
    """Takes progress that nobody looks at."""


class Client:
    """Talks to one orchestrator. `channel` must come from `longvideo.rpc.connect`."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = orchestrator_pb2_grpc.OrchestratorServiceStub(channel)

    # Videos ---------------------------------------------------------------------------------------------------------

    def add_video(self, path: Path, subtitles: Path | None = None, progress: Progress = _unseen) -> types_pb2.Video:
        """Makes a video file, and perhaps its subtitles, known; returns the video, ready for questions.

        A file that is known already costs only the reading of its bytes, for their digest. Raises NotFound,
        InvalidArgument, BadMedia, BadSubtitles, StorageFull and StorageUnavailable.
        """
        digest = file_digest(path, lambda done, total: progress("hash", done, total))
        video = self._upload(path, digest, progress)
        if subtitles is None:
            return video
        try:
            content = subtitles.read_bytes()
        except OSError as error:
            raise errors.NotFound(f"{subtitles} cannot be read: {error.strerror}", reason="FILE_UNREADABLE") from None
        added = self.add_subtitles(video.name, content, subtitles.name)
        video = self.video(video.name)
        video.warnings.extend(added.warnings)
        return video

    def _upload(self, path: Path, digest: str, progress: Progress) -> types_pb2.Video:
        status = path.stat()
        request = pb.CreateVideoRequest(sha256=digest, size_bytes=status.st_size, display_name=_shown_name(path))

        def create() -> pb.CreateVideoResponse:
            return _answered(lambda: self._stub.CreateVideo(request, timeout=CALL_SECONDS), _unseen)

        created = create()
        if created.video.name != video_name(digest):
            raise errors.Internal(f"the server was told of {video_name(digest)}, and answers about another video")
        if created.video.state == types_pb2.Video.STATE_READY:
            return created.video
        if created.upload_uri or created.parts:
            from longvideo import settings  # noqa: PLC0415  # pydantic: not needed for a file that is known

            progress("upload", 0, 0)
            sent = functools.partial(progress, "upload")
            uploads.send(path, created, create, sent, settings.load().tls_ca)
        complete = pb.CompleteVideoRequest(name=created.video.name)
        try:
            return _answered(lambda: self._stub.CompleteVideo(complete, timeout=INDEX_SECONDS), progress)
        except errors.UploadChanged:
            now = path.stat()
            if (now.st_size, now.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
                raise
            raise uploads.changed(path) from None

    def register_video(self, uri: str, name: str = "", progress: Progress = _unseen) -> types_pb2.Video:
        """Makes an object of the server's own storage, `s3://bucket/key`, known; returns the video, ready.

        Raises InvalidArgument, BadMedia, NotFound and FailedPrecondition.
        """
        request = pb.RegisterVideoRequest(source_uri=uri, display_name=name[:255])
        return _answered(lambda: self._stub.RegisterVideo(request, timeout=INDEX_SECONDS), progress)

    def add_subtitles(self, video: str, content: bytes, name: str = "") -> types_pb2.Subtitles:
        """Stores the bytes of a subtitle file and makes them the video's default. Raises BadSubtitles."""
        request = pb.CreateSubtitlesRequest(parent=video, content=content, display_name=name[:255])
        return self._stub.CreateSubtitles(request, timeout=CALL_SECONDS)

    def video(self, name: str) -> types_pb2.Video:
        """Returns a video. Raises NotFound."""
        return self._stub.GetVideo(pb.GetVideoRequest(name=name), timeout=CALL_SECONDS)

    def videos(self) -> Iterator[types_pb2.Video]:
        """Yields every video, newest first."""
        token = ""
        while True:
            page = self._stub.ListVideos(pb.ListVideosRequest(page_token=token), timeout=CALL_SECONDS)
            yield from page.videos
            token = page.next_page_token
            if not token:
                return

    def delete_video(self, name: str) -> None:
        """Gives a video up. Raises NotFound, and FailedPrecondition while a job about it has not ended."""
        self._stub.DeleteVideo(pb.DeleteVideoRequest(name=name), timeout=INDEX_SECONDS)

    # Trees ----------------------------------------------------------------------------------------------------------

    def tree(
        self,
        video: str,
        path: Sequence[int] = (),
        config: pb.TreeConfig | None = None,
        timeout: float = CALL_SECONDS,
    ) -> pb.Tree:
        """Returns the captions of a video, or of one segment and what lies below it. `timeout` is in seconds."""
        return self._stub.GetTree(pb.GetTreeRequest(video=video, path=path, config=config), timeout=timeout)

    def build_tree(
        self, video: str, level: int = 0, config: pb.TreeConfig | None = None
    ) -> Iterator[pb.BuildTreeResponse]:
        """Yields each caption of a whole tree as it is there; closing the iterator ends the build."""
        request = pb.BuildTreeRequest(video=video, level=level, config=config)
        stream = self._stub.BuildTree(request, timeout=WATCH_SECONDS)
        try:
            yield from stream
        finally:
            stream.cancel()

    def frames(
        self, video: str, path: Sequence[int], tree_width: int, count: int, longest_side: int
    ) -> types_pb2.GetFramesResponse:
        """Returns a few pictures of a segment. Raises NotFound, BadMedia and Unavailable."""
        request = types_pb2.GetFramesRequest(
            video=video, path=path, tree_width=tree_width, count=count, longest_side=longest_side
        )
        return self._stub.GetFrames(request, timeout=CALL_SECONDS)

    # Jobs -----------------------------------------------------------------------------------------------------------

    def submit(
        self,
        video: str,
        questions: Sequence[pb.Question],
        config: pb.TreeConfig | None = None,
        limits: pb.EpisodeLimits | None = None,
        priority: Priority = types_pb2.PRIORITY_INTERACTIVE,
        *,
        label: str = "",
        budget: pb.Budget | None = None,
    ) -> pb.Job:
        """Submits a job and returns it at once. Raises InvalidArgument, NotFound, FailedPrecondition.

        Tries again for as long as the server does not answer, under one request id, so that there is one job.
        """
        job = pb.Job(
            video=video,
            questions=questions,
            config=config,
            limits=limits,
            priority=priority,
            label=label,
            budget=budget,
        )
        request = pb.SubmitJobRequest(job=job, request_id=str(uuid.uuid4()))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._stub.SubmitJob(request, timeout=CALL_SECONDS)
            except errors.Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def watch(self, job: str, position: int = 0) -> Iterator[pb.JobEvent]:
        """Yields what happens in a job, from after `position`, until the job has ended.

        A watch that loses its server goes on after the last event it saw. Raises NotFound.
        """
        lost: float | None = None
        while True:
            stream = self._stub.WatchJob(pb.WatchJobRequest(name=job, position=position), timeout=WATCH_SECONDS)
            try:
                for event in stream:
                    lost = None
                    position = event.position
                    yield event
                return
            except errors.DeadlineExceeded:
                continue
            except errors.Unavailable:
                lost = lost or time.monotonic()
                if time.monotonic() - lost > PATIENCE_SECONDS:
                    raise
                time.sleep(0.5)
            finally:
                stream.cancel()

    def job(self, name: str) -> pb.Job:
        """Returns a job with its episodes. Raises NotFound."""
        return self._stub.GetJob(pb.GetJobRequest(name=name), timeout=CALL_SECONDS)

    def jobs(self, video: str = "") -> Iterator[pb.Job]:
        """Yields every job, or those about one video, newest first, without their episodes."""
        token = ""
        while True:
            page = self._stub.ListJobs(pb.ListJobsRequest(page_token=token, video=video), timeout=CALL_SECONDS)
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def cancel(self, job: str, timeout: float = CALL_SECONDS) -> pb.Job:
        """Asks a job to stop. Raises NotFound. `timeout` is in seconds."""
        return self._stub.CancelJob(pb.CancelJobRequest(name=job), timeout=timeout)

    def episode(self, name: str) -> pb.Episode:
        """Returns an episode with its rounds and its transcript. Raises NotFound."""
        request = pb.GetEpisodeRequest(name=name, view=pb.EPISODE_VIEW_FULL)
        return self._stub.GetEpisode(request, timeout=CALL_SECONDS)

    def calls(self, name: str) -> Iterator[types_pb2.ModelCall]:
        """Yields the model calls of a job or an episode, oldest first. Raises NotFound."""
        token = ""
        while True:
            request = pb.ListModelCallsRequest(parent=name, page_size=1000, page_token=token)
            page = self._stub.ListModelCalls(request, timeout=CALL_SECONDS)
            yield from page.model_calls
            token = page.next_page_token
            if not token:
                return

    def usage(self, name: str) -> pb.Usage:
        """Returns what the model calls of a job or an episode took. Raises NotFound."""
        return self._stub.GetUsage(pb.GetUsageRequest(name=name), timeout=CALL_SECONDS)

    def cost_report(self, request: pb.GetCostReportRequest) -> pb.CostReport:
        """Returns what a period, or a job, cost. Raises InvalidArgument, PermissionDenied and NotFound."""
        return self._stub.GetCostReport(request, timeout=REPORT_SECONDS)

    def export_usage(
        self, start: Timestamp | None = None, end: Timestamp | None = None, tenant: str = ""
    ) -> Iterator[Sequence[pb.LedgerEntry]]:
        """Yields the model calls that were sent from `start` to before `end`, oldest first, some at a time.

        They are the caller's own tenant's, or another's, or for `-` everybody's. Raises PermissionDenied.
        """
        request = pb.ExportUsageRequest(start_time=start, end_time=end, tenant=tenant)
        stream = self._stub.ExportUsage(request, timeout=WATCH_SECONDS)
        try:
            for response in stream:
                yield response.entries
        finally:
            stream.cancel()


def file_digest(path: Path, progress: Callable[[float, float], None] = lambda _done, _total: None) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits. Raises NotFound when it cannot be read."""
    digest = hashlib.sha256()
    done = 0
    try:
        total = path.stat().st_size
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                progress(done, max(total, done))
    except OSError as error:
        raise errors.NotFound(f"{path} cannot be read: {error.strerror}", reason="FILE_UNREADABLE") from None
    return digest.hexdigest()


def video_name(digest: str) -> str:
    """Returns the resource name of the video with a digest."""
    return str(VideoName(digest))


def _answered(call: Callable[[], _Answer], progress: Progress) -> _Answer:
    """Returns the answer to a call that may be repeated, after trying again for as long as there is nobody to give it.

    A server that has enough to do says when to come again.
    """
    lost: float | None = None
    while True:
        progress("index", 0, 0)
        try:
            return call()
        except errors.ResourceExhausted as error:
            if error.retry_after is None:
                raise
            progress("wait", 0, 0)
            time.sleep(error.retry_after)
        except errors.Unavailable as error:
            lost = lost or time.monotonic()
            # What says more than that knows more than that.
            if error.reason != errors.Unavailable.default_reason or time.monotonic() - lost > PATIENCE_SECONDS:
                raise
            time.sleep(0.5)


def _shown_name(path: Path) -> str:
    return path.name.encode(errors="replace").decode()[:255]
