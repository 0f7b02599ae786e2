"""The embedded stack: every service in this process, on a data directory of its own.

The same services as in a cluster, meeting over gRPC on loopback, with SQLite for the database, a directory for the
object storage, and Celery's in-memory broker. Roles that no model server was given for are played by the offline
models.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc
from pydantic import ValidationError

from caption_svc.caption import Captioner
from caption_svc.servicer import SERVICE_NAME as CAPTION_SERVICE
from caption_svc.servicer import CaptionServicer
from client.data_dir import DataDirectory
from client.options import Models
from longvideo import metrics, metrics_server, ports, prices, rpc, settings
from longvideo.clips import Library
from longvideo.endpoint import Endpoint
from longvideo.errors import BadSettings
from longvideo.inference import ModelClient
from longvideo.prompts import load_pack
from longvideo.settings import Settings
from longvideo.storage import DirectoryStore
from longvideo.usage import ROLES, Role
from longvideo.v1 import caption_pb2_grpc, orchestrator_pb2_grpc, video_qa_pb2_grpc
from longvideo.video.sandbox import Sandbox
from offline_models import server as offline_models
from orchestrator.celery_app import make_app, nudger, start_worker
from orchestrator.cleaning import Cleaner
from orchestrator.db import sqlite_url
from orchestrator.servicer import SERVICE_NAME as API_SERVICE
from orchestrator.servicer import Backend, OrchestratorServicer
from orchestrator.spec import Services
from orchestrator.store import Database
from orchestrator.tasks import Runner
from orchestrator.wiring import authenticator, price
from qa_svc.answer import Answerer
from qa_svc.servicer import SERVICE_NAME as QA_SERVICE
from qa_svc.servicer import VideoQAServicer

_OFFLINE_MODELS: dict[Role, str] = {
    "reason": "offline-reasoner",
    "caption": "offline-captioner",
    "qa": "offline-qa",
}
_Service = tuple[str, Callable[[Any, grpc.Server], None]]
_API: _Service = (API_SERVICE, orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server)
_CAPTION: _Service = (CAPTION_SERVICE, caption_pb2_grpc.add_CaptionServiceServicer_to_server)
_QA: _Service = (QA_SERVICE, video_qa_pb2_grpc.add_VideoQAServiceServicer_to_server)
# Ctrl-C promises an end within two seconds; a model call that does not let go by then is left behind.
_STOP_SECONDS = 1.0


def stack_settings(overrides: dict[str, Any], models: Models, patience: float | None = None) -> Settings:
    """Returns the settings of an embedded stack: the options, then the environment, then the defaults.

    The offline models' roles have no endpoint yet: `Stack` adds them when they have an address. Raises BadSettings.
    """
    loaded = settings.load(**overrides)
    if loaded.object_store:
        raise BadSettings(
            "LONGVIDEO_OBJECT_STORE is set, but this command keeps everything in the data directory; "
            "unset it, or use --server",
            setting="object_store",
        )
    if patience is not None and "unavailable_patience" not in loaded.model_fields_set:
        overrides = {**overrides, "unavailable_patience": patience}
    given = {role: _endpoint(role, *models.given(role)) for role in ROLES if models.given(role)[0]}
    kept = [
        endpoint.model_copy(update={"roles": roles})
        for endpoint in loaded.endpoints
        if (roles := endpoint.roles - given.keys())
    ]
    return settings.load(**overrides, endpoints=(*given.values(), *kept))


def _endpoint(role: Role, url: str, model: str) -> Endpoint:
    try:
        return Endpoint(url=url, model=model, roles=frozenset({role}))
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise BadSettings(f"--{role}-url is {url!r}: {said}", setting="endpoints") from None


class Stack:
    """All services in this process. A context manager; `address` is the orchestrator's once it is entered.

    Raises what `DataDirectory` and `Database` raise, and Unavailable for an address that cannot be used.
    """

    def __init__(
        self, settings: Settings, *, command: str, public: bool = False, work: bool = True, check: bool = False
    ) -> None:
        """Says how to start; nothing is started yet.

        Args:
            settings: What `stack_settings` gave.
            command: What runs this, for whoever finds the data directory locked.
            public: Whether the orchestrator's API listens where the settings say, for others too, and the other
                services on the next two ports of this machine alone. Otherwise all take free ports of this machine.
            work: Whether episodes are carried out.
            check: Whether to ask every configured model server whether it is there and has its model.
        """
        self._settings, self._command, self._public, self._work, self._check = settings, command, public, work, check
        self.address = self.caption_address = self.qa_address = ""
        self.metrics_address = self.offline_url = ""
        self.unfinished = 0
        self._cleanup: list[Callable[[], object]] = []
        self._stoppers: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        settings = self._settings
        pack = load_pack(settings.prompt_pack)
        directory = DataDirectory(settings.data_dir, self._command)
        self._cleanup.append(directory.release)
        database = Database(
            settings.database_url or sqlite_url(directory.path / "longvideo.db"),
            lease_seconds=settings.lease_seconds,
            price=price(settings),
        )
        self._cleanup.append(database.close)
        if self._check:
            _check_servers(settings.endpoints)
        endpoints = self._with_offline(settings.endpoints)
        clients = {role: ModelClient(role, endpoints, attempt_timeout=settings.model_timeout) for role in ROLES}
        self._stoppers += [client.close for client in clients.values()]
        store = DirectoryStore(directory.path / "objects")
        media = Sandbox(settings.media_limits())
        self._cleanup.append(media.close)
        if self._work:
            media.start()
        library = Library(store, media, cache_bytes=settings.cache_bytes)
        captioner = Captioner(
            store,
            library,
            clients["caption"],
            endpoints,
            pack,
            sampling=settings.sampling,
            frame_selection=settings.frame_selection,
        )
        self.caption_address = self._serve(_CAPTION, CaptionServicer(captioner, library), 1)
        self.qa_address = self._serve(_QA, VideoQAServicer(Answerer(library, clients["qa"], pack)), 2)
        captions = caption_pb2_grpc.CaptionServiceStub(self._connect(self.caption_address))
        video_qa = video_qa_pb2_grpc.VideoQAServiceStub(self._connect(self.qa_address))
        # Nobody else works on this directory: what is leased was leased by a process that is no more. Workers elsewhere
        # may hold leases in a database of its own.
        self.unfinished = 0 if settings.database_url else database.release_all_leases()
        runner = Runner(
            database, Services(clients["reason"], captions, video_qa, pack), patience=settings.unavailable_patience
        )
        app = make_app(settings, lambda: runner)
        backend = Backend(database, store, captions, settings, nudger(app), media, prices.load(settings.price_book))
        self.address = self._serve_api(OrchestratorServicer(backend), database)
        directory.announce(self.address)
        if self._work:
            cleaner = Cleaner(database, store, settings.upload_expiry)
            self._stoppers.insert(0, start_worker(app, runner, cleaner, settings.episode_concurrency).stop)

    def _serve(self, service: _Service, servicer: object, offset: int) -> str:
        """Starts a server for this process alone, at the API's port plus `offset`, or at any free port."""
        port = int(self._settings.api_listen.rpartition(":")[2]) if self._public else 0
        return self._started(rpc.serve([(*service, servicer)], f"127.0.0.1:{port + offset if port else 0}"))

    def _serve_api(self, servicer: OrchestratorServicer, database: Database) -> str:
        if self._public:
            metrics.BACKLOGS.source = database.work.backlog
            self.metrics_address = metrics_server.serve(self._settings, "api", "worker", "caption", "qa")
            return self._started(
                ports.serve_api(self._settings, [(*_API, servicer)], authenticator(self._settings, database))
            )
        return self._started(rpc.serve([(*_API, servicer)]))

    def _started(self, server: rpc.Server) -> str:
        self._stoppers.append(lambda: server.stop(grace=0))
        return server.address

    def _connect(self, address: str) -> grpc.Channel:
        channel = rpc.connect(address)
        self._cleanup.append(channel.close)
        return channel

    def stop(self) -> None:
        """Stops everything, within the time that Ctrl-C promises. May be called again.

        Episodes end where they stand; the next process on this data directory goes on with them.
        """
        stoppers, self._stoppers = self._stoppers, []
        cleanup, self._cleanup = self._cleanup, []
        threads = [threading.Thread(target=stop, name="stopping", daemon=True) for stop in stoppers]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for close in reversed(cleanup):
            close()

    def _with_offline(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Returns the endpoints, with the offline models for the roles that nobody plays."""
        missing = [role for role in ROLES if not any(role in endpoint.roles for endpoint in endpoints)]
        if not missing:
            return endpoints
        server = offline_models.serve()
        self._stoppers.append(server.close)
        self.offline_url = server.url
        offline = (Endpoint(url=server.url, model=_OFFLINE_MODELS[role], roles=frozenset({role})) for role in missing)
        return (*endpoints, *offline)


def _check_servers(endpoints: tuple[Endpoint, ...]) -> None:
    """Asks each model server what it serves. Raises ModelUnavailable and ModelRejected."""
    for endpoint in endpoints:
        role = min(endpoint.roles)
        with contextlib.closing(ModelClient(role, [endpoint], max_attempts=1)) as client:
            client.describe()
