"""Three tenants that submit jobs and wait for their ends, through whatever happens to the API."""

from __future__ import annotations

import hashlib
import random
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from longvideo import errors
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from tests.chaos.questions import Film, Question
from tests.chaos.stack import Stack

_CALL_SECONDS = 10.0
_PAUSE_SECONDS = 0.3
QUESTIONS_PER_JOB = 4

# What comes of a stack that is being hurt, and passes.
_PASSING = (
    errors.Unavailable,
    errors.DeadlineExceeded,
    errors.ResourceExhausted,
    errors.Cancelled,
    errors.UploadChanged,
)

_Result = TypeVar("_Result")


@dataclass
class Accepted:
    """A job that the API accepted, and what became of it: None while nobody knows."""

    name: str
    questions: Sequence[Question]
    ended: pb.Job | None = None


class Tenant:
    """Submits its questions, spread over `seconds`, and then waits for them, all in one thread."""

    def __init__(
        self,
        stack: Stack,
        name: str,
        questions: Sequence[Question],
        seed: int,
        seconds: float,
        size: int = QUESTIONS_PER_JOB,
    ) -> None:
        self.name = name
        self._size = size
        self.jobs: list[Accepted] = []
        self.retries = 0
        self.problem: Exception | None = None
        self.last_problem: Exception | None = None
        self._stack = stack
        self._questions = list(questions)
        self._seconds = seconds
        self._random = random.Random(f"{name} {seed}")
        self._videos: dict[Film, str] = {}
        self._connections = [stack.connect(number, name) for number in range(2)]
        self._give_up = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def stop(self) -> None:
        """Waits no longer. Raises what kept the tenant from submitting all its questions."""
        self._give_up.set()
        self.thread.join()
        for channel, _ in self._connections:
            channel.close()
        if self.problem is not None:
            raise self.problem
        if sum(len(job.questions) for job in self.jobs) < len(self._questions):
            raise AssertionError(f"{self.name} could not submit all its questions") from self.last_problem

    def _run(self) -> None:
        try:
            started = time.monotonic()
            starts = range(0, len(self._questions), self._size)
            jobs = [self._questions[at : at + self._size] for at in starts]
            for number, questions in enumerate(jobs):
                self._give_up.wait(started + self._seconds * number / len(jobs) - time.monotonic())
                self._submit([*questions])
            for job in self.jobs:
                self._finish(job)
        except _GivenUp:
            return
        except Exception as error:  # noqa: BLE001  # raised by whoever waits for this thread
            self.problem = error

    def _submit(self, questions: list[Question]) -> None:
        # A job is about one video.
        by_film: dict[Film, list[Question]] = {}
        for question in questions:
            by_film.setdefault(question.film, []).append(question)
        for film, group in by_film.items():
            if film not in self._videos:
                self._videos[film] = self._patiently(lambda stub, film=film: self._add(stub, film))
            asked = [pb.Question(text=question.text) for question in group]
            request = pb.SubmitJobRequest(
                job=pb.Job(video=self._videos[film], questions=asked),
                request_id=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            )
            job = self._patiently(lambda stub, request=request: stub.SubmitJob(request, timeout=_CALL_SECONDS))
            self.jobs.append(Accepted(job.name, group))

    def _finish(self, job: Accepted) -> None:
        while True:
            found = self._patiently(lambda stub: stub.GetJob(pb.GetJobRequest(name=job.name), timeout=_CALL_SECONDS))
            if found.HasField("end_time"):
                job.ended = found
                return
            if self._give_up.wait(_PAUSE_SECONDS):
                raise _GivenUp

    def _add(self, stub: Any, film: Film) -> str:
        data = film.path.read_bytes()
        request = pb.CreateVideoRequest(
            sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), display_name=film.path.name
        )
        created = stub.CreateVideo(request, timeout=_CALL_SECONDS)
        if created.upload_uri:
            upload = urllib.request.Request(created.upload_uri, data=data, method="PUT")
            upload.add_header("Content-Type", "application/octet-stream")
            with urllib.request.urlopen(upload, timeout=_CALL_SECONDS):
                pass
        if created.video.state != types_pb2.Video.STATE_READY:
            complete = pb.CompleteVideoRequest(name=created.video.name)
            stub.CompleteVideo(complete, timeout=3 * _CALL_SECONDS)
        return str(created.video.name)

    def _patiently(self, call: Callable[[Any], _Result]) -> _Result:
        """Returns what a call gives, tried on one API process and the other until one answers."""
        while True:
            try:
                return call(self._random.choice(self._connections)[1])
            except (*_PASSING, OSError) as error:
                self.retries += 1
                self.last_problem = error
            except errors.FailedPrecondition as error:
                if error.reason != "UPLOAD_MISSING":  # S3 said that it was there, and forgot
                    raise
            if self._give_up.wait(_PAUSE_SECONDS):
                raise _GivenUp


class _GivenUp(Exception):
    pass
