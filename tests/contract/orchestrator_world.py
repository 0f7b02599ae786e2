"""A whole orchestrator over real gRPC, with a scripted reasoner and scripted services around it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from longvideo import rpc
from longvideo.inference import Endpoint, ModelClient
from longvideo.prices import PriceBook
from longvideo.prompts import load_pack
from longvideo.settings import Settings
from longvideo.storage import DirectoryStore, ObjectStore, open_store
from longvideo.testing import Reply, ScriptedModelServer, ScriptedServices
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from longvideo.v1.caption_pb2_grpc import CaptionServiceStub
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from longvideo.v1.video_qa_pb2_grpc import VideoQAServiceStub
from orchestrator.celery_app import Worker, make_app, nudger, start_worker
from orchestrator.cleaning import Cleaner
from orchestrator.db import sqlite_url
from orchestrator.servicer import Backend, OrchestratorServicer, registration
from orchestrator.spec import Services
from orchestrator.store import Database
from orchestrator.store.spending import no_price
from orchestrator.tasks import Runner
from orchestrator.tokens import Authenticator
from tests.contract.library import MEDIA
from tests.media import make_video
from tests.parts import KEYS

SCRIPT = (
    "<think>the second part</think>\n<tool>get_caption((2,4))</tool>",
    "<think>look closely</think>\n<tool>video_qa((2,4,1), What number is it?)</tool>",
    "<think>that settles it</think>\n<answer>B</answer>",
)


def film(directory: Path) -> Path:
    """Encodes 4 s of numbered frames."""
    return make_video(directory / "a film.mp4", seconds=4, fps=20)


class World:
    """The orchestrator on a directory of its own. `reason` says what the reasoner answers to a conversation.

    By default it answers the n-th round with the n-th line of SCRIPT, so that an episode takes three rounds.
    """

    def __init__(
        self,
        directory: Path,
        *,
        patience: float | None = 0.0,
        max_watchers: int = 32,
        work: bool = True,
        tokens: bool = False,
        book: PriceBook | None = None,
        **settings: Any,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.patience, self.max_watchers, self.tokens, self.book = patience, max_watchers, tokens, book
        self.reason: Callable[[int], Reply | str] = lambda number: SCRIPT[number]
        self.reasoner = ScriptedModelServer(lambda request: self.reason(round_of(request)))
        self.services = ScriptedServices()
        self.services_server = self.services.serve()
        self.channel = rpc.connect(self.services_server.address)
        self.endpoint = Endpoint(url=self.reasoner.url, roles=frozenset({"reason"}), pool="h800")
        self.settings = Settings(data_dir=directory, endpoints=(self.endpoint,), caption_concurrency=4, **settings)
        self.objects: ObjectStore = open_store(directory, self.settings.object_store, KEYS)
        self.worker: Worker | None = None
        self.start(work=work)

    def start(self, *, work: bool = True) -> None:
        """Starts the orchestrator, as after a restart of its process."""
        self.database = Database(
            sqlite_url(self.directory / "longvideo.db"), price=self.book.of if self.book else no_price
        )
        self.database.release_all_leases()
        self.client = ModelClient("reason", [self.endpoint], max_attempts=1)
        captions, video_qa = CaptionServiceStub(self.channel), VideoQAServiceStub(self.channel)
        pack = load_pack()
        self.runner = Runner(self.database, Services(self.client, captions, video_qa, pack), patience=self.patience)
        self.cleaner = Cleaner(self.database, self.objects, self.settings.upload_expiry)
        self.app = make_app(self.settings, lambda: self.runner)
        if work:
            self.worker = start_worker(self.app, self.runner, self.cleaner, 4)
        backend = Backend(self.database, self.objects, captions, self.settings, nudger(self.app), MEDIA, self.book)
        self.servicer = servicer = OrchestratorServicer(backend, max_watchers=self.max_watchers)
        authenticate = Authenticator(self.database.tenants) if self.tokens else None
        self.server = rpc.serve([registration(servicer)], authenticate=authenticate)
        self.stub = OrchestratorServiceStub(rpc.connect(self.server.address))

    @property
    def store(self) -> DirectoryStore:
        """The directory with the objects, where they are in one."""
        assert isinstance(self.objects, DirectoryStore)
        return self.objects

    def stop(self) -> None:
        """Stops the orchestrator; the services and the reasoner go on."""
        if self.worker is not None:
            self.worker.stop()
            self.worker = None
        self.server.stop(0)
        self.client.close()
        self.database.close()

    def close(self) -> None:
        """Stops everything."""
        self.stop()
        self.services_server.stop(0)
        self.reasoner.close()

    def create(self, path: Path, name: str = "") -> pb.CreateVideoResponse:
        """Announces a file."""
        data = path.read_bytes()
        request = pb.CreateVideoRequest(
            sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), display_name=name or path.name
        )
        return self.stub.CreateVideo(request)

    def upload(self, path: Path) -> str:
        """Announces a file, writes its bytes, and returns the video's name."""
        created = self.create(path)
        if created.upload_uri:
            target_of(created).write_bytes(path.read_bytes())
        return created.video.name

    def add(self, path: Path) -> types_pb2.Video:
        """Adds a video."""
        return self.stub.CompleteVideo(pb.CompleteVideoRequest(name=self.upload(path)))

    def submit(self, video: str, *questions: str, **fields: Any) -> pb.Job:
        """Submits a job with these questions."""
        asked = [pb.Question(text=text) for text in questions or ("What number is it?",)]
        return self.stub.SubmitJob(pb.SubmitJobRequest(job=pb.Job(video=video, questions=asked, **fields)))

    def watch(self, job: pb.Job, position: int = 0, timeout: float = 30) -> Any:
        """Returns the stream of a job's events."""
        return self.stub.WatchJob(pb.WatchJobRequest(name=job.name, position=position), timeout=timeout)

    def finish(self, job: pb.Job) -> pb.Job:
        """Waits for a job's end and returns it."""
        for _ in self.watch(job):
            pass
        return self.stub.GetJob(pb.GetJobRequest(name=job.name))


def target_of(created: pb.CreateVideoResponse) -> Path:
    """Returns the file that an upload goes to."""
    return Path(unquote(urlparse(created.upload_uri).path))


def round_of(request: dict[str, Any]) -> int:
    """Returns how many rounds a conversation has behind it."""
    return sum(message["role"] == "assistant" for message in request["messages"])


class Gate:
    """Holds the reasoner at one round until it is opened, and says when it has got there."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, number: int) -> Reply | str:
        """Answers as the script says, after waiting when it is this gate's round."""
        if number == self.number:
            self.reached.set()
            self.opened.wait(30)
        return SCRIPT[number]
