"""Every process of a cluster, on real parts and with TLS, with scripted models."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longvideo import rpc
from longvideo.testing import Reply, ScriptedModelServer
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from tests.certificates import Authority, settings_of
from tests.parts import KEYS

REPOSITORY = Path(__file__).parents[2]
STEPS = (
    "<think>the second part</think>\n<tool>get_caption((2,4))</tool>",
    "<think>closer</think>\n<tool>video_qa((2,4,1), Which number?)</tool>",
    "<think>that is it</think>\n<answer>It is 42.</answer>",
)
_DEADLINE = 60.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Waits until something is true, and returns it."""
    deadline = time.monotonic() + _DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
    return found


class Models:
    """What the scripted models say: three rounds for every question. A question can be held at one of its rounds."""

    def __init__(self) -> None:
        self.server = ScriptedModelServer(self._answer, owned_by="somebody")
        self._clips = threading.Event()
        self._clips.set()
        self._gates: dict[str, tuple[int, threading.Event]] = {}

    def hold_clips(self) -> threading.Event:
        """Holds the answers of the qa model until the event that is returned is set."""
        self._clips = threading.Event()
        return self._clips

    def hold(self, question: str, number: int) -> threading.Event:
        """Holds the reasoner at round `number` (from 0) of a question until the event that is returned is set."""
        self._gates[question] = (number, threading.Event())
        return self._gates[question][1]

    def asked(self, question: str) -> list[tuple[int, str]]:
        """Returns what the reasoner was asked about a question: the rounds, and by which worker."""
        found = []
        for request, headers in zip(list(self.server.requests), list(self.server.headers), strict=False):
            if _is_reasoning(request) and question in str(request["messages"]):
                worker = {name.lower(): value for name, value in headers.items()}["authorization"]
                found.append((_round(request), worker.removeprefix("Bearer ")))
        return found

    def clips(self) -> list[dict[str, Any]]:
        """Returns what the qa model was asked."""
        return [request for request in list(self.server.requests) if _is_clip(request)]

    def _answer(self, request: dict[str, Any]) -> Reply | str:
        if not _is_reasoning(request):
            if _is_clip(request):
                self._clips.wait(_DEADLINE)
                return "<reasoning>I see it.</reasoning><answer>The number 42.</answer>"
            return "<caption>A grid of cells.</caption>"
        number, text = _round(request), str(request["messages"])
        for question, (held, gate) in list(self._gates.items()):
            if question in text and held == number:
                gate.wait(_DEADLINE)
        return STEPS[number]


def _is_reasoning(request: dict[str, Any]) -> bool:
    return isinstance(request["messages"][-1]["content"], str)


def _is_clip(request: dict[str, Any]) -> bool:
    content = request["messages"][-1]["content"]
    return not isinstance(content, str) and any(part.get("text", "").startswith("Question:") for part in content)


def _round(request: dict[str, Any]) -> int:
    return sum(message["role"] == "assistant" for message in request["messages"])


class Process:
    """One process of the cluster, and its log."""

    def __init__(self, name: str, log: Path, command: list[str], environment: dict[str, str]) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=log.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        """Returns the log."""
        return self.log.read_text(errors="replace")

    def ready(self, word: str) -> str:
        """Waits for a line that holds `word`, and returns its last word."""

        def line() -> str:
            found = [line for line in self.said().splitlines() if word in line]
            assert found or self.popen.poll() is None, f"{self.name} ended: {self.said()}"
            return found[0] if found else ""

        return str(eventually(line, f"{self.name} is ready")).rpartition(" ")[2]

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.popen.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal, waits for the end, and returns the exit code."""
        self.send(number)
        return self.popen.wait(_DEADLINE)


class Cluster:
    """The processes, and a client."""

    def __init__(self, directory: Path, models: Models, **settings: str) -> None:
        self.directory, self.models = directory, models
        self.tls = Authority().issue(directory / "certificates")
        secure = {f"LONGVIDEO_{name.upper()}": value for name, value in settings_of(self.tls).items()}
        endpoint = {"url": models.server.url, "model": "scripted", "gpus": 2, "roles": ["reason", "caption", "qa"]}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LONGVIDEO_")}
        self.environment = {
            **kept,
            "PYTHONPATH": str(REPOSITORY),
            "LONGVIDEO_ENDPOINTS": json.dumps([endpoint]),
            "LONGVIDEO_S3_ACCESS_KEY": KEYS[0],
            "LONGVIDEO_S3_SECRET_KEY": KEYS[1],
            "LONGVIDEO_DATA_DIR": str(directory / "data"),
            "LONGVIDEO_CAPTION_LISTEN": "127.0.0.1:0",
            "LONGVIDEO_QA_LISTEN": "127.0.0.1:0",
            "LONGVIDEO_API_LISTEN": "127.0.0.1:0",
            "LONGVIDEO_HEALTH_LISTEN": "127.0.0.1:0",
            "LONGVIDEO_METRICS_LISTEN": "127.0.0.1:0",
            "LONGVIDEO_LEASE_SECONDS": "3",
            **secure,
            "LONGVIDEO_EPISODE_CONCURRENCY": "8",
            **{f"LONGVIDEO_{name.upper()}": value for name, value in settings.items()},
        }
        self.processes: list[Process] = []
        self.stub: OrchestratorServiceStub

    def run(self, name: str, *command: str, **settings: str) -> Process:
        """Starts a process, with settings of its own."""
        own = {f"LONGVIDEO_{key.upper()}": value for key, value in settings.items()}
        log = self.directory / f"{name}-{len(self.processes)}.log"
        self.processes.append(Process(name, log, list(command), self.environment | own))
        return self.processes[-1]

    def start(self) -> None:
        """Starts all services, and waits until they are ready."""
        services = {name: self.run(name, name) for name in ("caption_svc", "qa_svc")}
        for name, process in services.items():
            address = process.ready("ready at")
            self.environment[f"LONGVIDEO_{name.removesuffix('_svc').upper()}_ADDRESS"] = address
        api = self.run("orchestrator", "orchestrator")
        self.run("beat", "celery", "-A", "orchestrator.celery_app", "beat", "--loglevel", "INFO")
        self.address = api.ready("ready at")
        self.stub = OrchestratorServiceStub(rpc.connect(self.address, tls=self.tls))

    def worker(self, name: str, **settings: str) -> Process:
        """Starts a worker; what it asks of the reasoner bears its name. `ready` waits for it."""
        command = ("celery", "-A", "orchestrator.celery_app", "worker", "--loglevel", "INFO", "--hostname", f"{name}@h")
        return self.run(name, *command, reason_api_key=name, caption_api_key=name, qa_api_key=name, **settings)

    def close(self) -> None:
        """Ends everything at once."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.popen.kill()
        for process in self.processes:
            process.popen.wait()

    def add(self, path: Path) -> str:
        """Uploads a video and returns its name."""
        data = path.read_bytes()
        announced = pb.CreateVideoRequest(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        created = self.stub.CreateVideo(announced, timeout=_DEADLINE)
        if created.upload_uri:
            headers = {"content-type": "video/mp4"}
            request = urllib.request.Request(created.upload_uri, data, headers, method="PUT")
            urllib.request.urlopen(request, timeout=_DEADLINE).close()
        completed = pb.CompleteVideoRequest(name=created.video.name)
        return str(self.stub.CompleteVideo(completed, timeout=_DEADLINE).name)

    def submit(self, video: str, *questions: str, request_id: str = "") -> pb.Job:
        """Submits a job."""
        job = pb.Job(video=video, questions=[pb.Question(text=text) for text in questions])
        return self.stub.SubmitJob(pb.SubmitJobRequest(job=job, request_id=request_id), timeout=_DEADLINE)

    def get(self, job: pb.Job) -> pb.Job:
        """Returns a job as it is now."""
        return self.stub.GetJob(pb.GetJobRequest(name=job.name), timeout=_DEADLINE)

    def finish(self, job: pb.Job) -> pb.Job:
        """Waits for a job's end, and returns it."""
        return eventually(lambda: (now := self.get(job)).HasField("end_time") and now, f"{job.name} ends")

    def workers(self, *names: str) -> dict[str, Process]:
        """Returns the workers of these names, starting those that do not run; all are ready."""
        running = {process.name: process for process in self.processes if process.popen.poll() is None}
        found = {name: running.get(name) or self.worker(name) for name in names}
        for worker in found.values():
            worker.ready(" ready.")
        return found
