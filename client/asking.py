"""Asking: makes a video known, asks about it, shows what happens, and gives the result."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from client import render, words
from client.api import Client
from client.connection import warn
from client.exits import Stopped
from client.options import Where
from client.pace import Pace
from client.screen import Screen
from longvideo import errors
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2

_STEPS = {
    "hash": "Reading the file",
    "upload": "Handing it over",
    "wait": "Waiting until the server has time for it",
    "index": "Indexing its frames",
}
# Ctrl-C promises an end within two seconds: what is asked of the server on the way out must be quick.
_PARTING_SECONDS = 0.3


@dataclass(frozen=True)
class Outcome:
    """How a question ended: the episode in FULL view, what its calls took, how long everything took, and its job."""

    video: types_pb2.Video
    episode: pb.Episode
    usage: pb.Usage
    timings: dict[str, float]
    job: pb.Job


@dataclass
class Asking:
    """Asks questions about one video, one after the other. Times are in seconds."""

    client: Client
    screen: Screen
    config: pb.TreeConfig
    limits: pb.EpisodeLimits
    verbose: bool = False
    budget: pb.Budget | None = None
    where: Where | None = None
    """Where the questions are asked, for whoever wants to know more afterwards."""
    video: types_pb2.Video | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def add(self, path: Path, subtitles: Path | None) -> types_pb2.Video:
        """Makes the video file known. Subtitles are those given, else those that lie beside the file.

        Raises what `Client.add_video` raises, and Stopped.
        """
        pace = Pace()
        try:
            self.video = self._added(path, subtitles, pace)
        except KeyboardInterrupt:
            kept = "What has arrived is kept for a while; the same command goes on from there."
            raise Stopped(
                f"Stopped. {kept if pace.any else 'Nothing was kept: the video was not added yet.'}"
            ) from None
        return self._shown()

    def register(self, uri: str, subtitles: Path | None) -> types_pb2.Video:
        """Makes an object of the server's storage known, and perhaps subtitles for it.

        Raises what `Client.register_video` raises, and Stopped.
        """
        try:
            with self.screen.working("The server checks it") as advance:
                self.video = self.client.register_video(
                    uri,
                    progress=lambda step, done, total: advance(done, total, _STEPS["wait"] if step == "wait" else ""),
                )
                if subtitles is not None:
                    self.client.add_subtitles(self.video.name, subtitles.read_bytes(), subtitles.name)
                    self.video = self.client.video(self.video.name)
        except KeyboardInterrupt:
            raise Stopped("Stopped. Nothing was kept: the video was not added yet.") from None
        return self._shown()

    def _shown(self) -> types_pb2.Video:
        assert self.video is not None
        self.screen.line("Video", words.video(self.video))
        for warning in self.video.warnings:
            warn(warning)
        return self.video

    def _added(self, path: Path, subtitles: Path | None, pace: Pace) -> types_pb2.Video:
        start = time.monotonic()
        with self.screen.working(_STEPS["hash"]) as advance:

            def progress(step: str, done: float, total: float) -> None:
                self.timings.setdefault(step, time.monotonic() - start)
                what = _STEPS[step]
                if step == "upload" and total:
                    what = self._uploading(pace, done, total)
                advance(done, total, what)

            video = self.client.add_video(path, subtitles, progress)
            if pace.any:
                self.screen.line("Upload", pace.all())
            self._add_sidecar(path, video, given=subtitles)
        end = time.monotonic() - start
        hashed = min(self.timings.pop(step, end) for step in ("upload", "wait", "index"))
        self.timings.update(hash=hashed, add=end - hashed)
        return self.client.video(video.name) if subtitles is None else video

    def _uploading(self, pace: Pace, done: float, total: float) -> str:
        """Returns how an upload goes on, and writes it down now and then where there is no bar."""
        begins = not pace.any
        pace.moved(done, total)
        if begins and done:
            self.screen.line("Upload", f"goes on: {words.size(int(done))} of {words.size(int(total))} are there")
        elif pace.line_is_due() and not self.screen.live:
            self.screen.line("Upload", pace.now())
        return f"Uploading {pace.now()}"

    def _add_sidecar(self, path: Path, video: types_pb2.Video, given: Path | None) -> None:
        from longvideo.subtitles import find_sidecar  # noqa: PLC0415  # numpy: not needed to say what is wrong

        sidecar = find_sidecar(path) if given is None else None
        if sidecar is None:
            return
        try:
            added = self.client.add_subtitles(video.name, sidecar.read_bytes(), sidecar.name)
        except (errors.BadSubtitles, OSError) as error:
            warn(f"the subtitles {sidecar.name} beside the video were left out: {error}")
        else:
            for warning in added.warnings:
                warn(warning)

    def ask(self, question: pb.Question) -> Outcome:
        """Asks one question and shows how it is answered. Raises what `Client.submit` raises, and Stopped."""
        assert self.video is not None, "add a video first"
        start = time.monotonic()
        job: pb.Job | None = None
        narrator = render.Narrator(self.screen, self.verbose)
        try:
            job = self.client.submit(self.video.name, [question], self.config, self.limits, budget=self.budget)
            with self.screen.waiting() as narrator.waiting:
                for event in self.client.watch(job.name):
                    narrator.show(event)
            episode = self.client.episode(job.episodes[0].name)
            usage = self.client.usage(episode.name)
            ended = self.client.job(job.name)
        except KeyboardInterrupt:
            raise Stopped(self._parting(job)) from None
        except (BrokenPipeError, SystemExit):  # nobody reads what we write any more
            self._parting(job)
            raise
        took = time.monotonic() - start
        timings = {**self.timings, "question": took, "total": took + sum(self.timings.values())}
        self.timings = {}
        return Outcome(self.video, episode, usage, timings, ended)

    def _parting(self, job: pb.Job | None) -> str:
        """Cancels the job, and returns what is kept."""
        assert self.video is not None
        captions = 0
        with contextlib.suppress(errors.LongVideoError):
            if job is not None:
                self.client.cancel(job.name, timeout=_PARTING_SECONDS)
            tree = self.client.tree(self.video.name, config=self.config, timeout=_PARTING_SECONDS)
            captions = sum(bool(caption.text) for caption in tree.captions)
        more = f" and {words.plural(captions, 'caption')}" if captions else ""
        return f"Stopped. Kept: the video's index{more}; ask again to go on from there."

    def show(self, outcome: Outcome) -> None:
        """Writes the answer, where it was found and what it cost."""
        render.result(self.screen, outcome.episode, outcome.usage, outcome.timings["total"])
        if outcome.job.HasField("budget"):
            self.screen.line("Budget", words.budget(outcome.job))
        if self.where is not None:
            self.screen.line("Page", self.where.command("report", outcome.job.name), "dim")
