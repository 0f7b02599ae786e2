"""Health over real connections: what a server says of itself, and the probe that asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from longvideo import health as probe
from longvideo import ports, rpc, settings
from longvideo.errors import StorageUnavailable
from longvideo.rpc import health
from longvideo.v1 import caption_pb2, caption_pb2_grpc
from tests.certificates import Authority, settings_of

SERVICE = "longvideo.v1.CaptionService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Captions(caption_pb2_grpc.CaptionServiceServicer):
    """Holds a call until it is released."""

    def __init__(self) -> None:
        self.called, self.released = threading.Event(), threading.Event()

    def ListCaptions(self, request: Any, context: Any) -> caption_pb2.ListCaptionsResponse:  # noqa: N802
        self.called.set()
        self.released.wait(60)
        return caption_pb2.ListCaptionsResponse()


class Needed:
    """Something that answers or does not, or hangs until it is let go."""

    def __init__(self) -> None:
        self.well = True
        self.let_go = threading.Event()
        self.let_go.set()

    def __call__(self) -> None:
        self.let_go.wait(60)
        if not self.well:
            raise StorageUnavailable("it is away")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks often, and waits for none."""
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(health, "CHECK_LIMIT", 0.2)


@pytest.fixture
def serve() -> Iterator[Callable[..., rpc.Server]]:
    """Starts a server of these services, and stops it at the end."""
    servers = []

    def start(servicer: Captions | None, **options: Any) -> rpc.Server:
        add = caption_pb2_grpc.add_CaptionServiceServicer_to_server
        servers.append(rpc.serve([(SERVICE, add, servicer)] if servicer else [], **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop(0)


def state(server: rpc.Server, name: str) -> int:
    """Returns what a server says about a name."""
    with rpc.connect(server.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
    return int(answer.status)


def becomes(server: rpc.Server, name: str, wanted: int) -> bool:
    """Waits until a server says this about a name."""
    deadline = time.monotonic() + 60
    while state(server, name) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return state(server, name) == wanted


def test_a_service_is_ready_while_what_it_needs_answers(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A service follows what it needs, down and up again, each under its own name; the process lives all along."""
    database, storage = Needed(), Needed()
    database.well = False
    server = serve(Captions(), checks={"database": database, "object-store": storage})

    assert [state(server, name) for name in ("", SERVICE, "database", "object-store")] == [
        SERVING, NOT_SERVING, NOT_SERVING, SERVING,
    ]  # fmt: skip
    assert "database does not answer: it is away" in caplog.text
    database.well = True
    assert becomes(server, SERVICE, SERVING)
    storage.well = False
    assert becomes(server, SERVICE, NOT_SERVING)
    assert state(server, "database") == SERVING


def test_a_check_that_hangs_is_no_answer(serve: Any) -> None:
    """What does not answer in time counts as away until it answers."""
    database = Needed()
    server = serve(Captions(), checks={"database": database})
    database.let_go.clear()

    assert becomes(server, SERVICE, NOT_SERVING)
    database.let_go.set()
    assert becomes(server, SERVICE, SERVING)


@pytest.mark.parametrize("name", ["broker", "models"])
def test_what_jobs_wait_for_makes_no_service_unready(serve: Any, name: str) -> None:
    """Without models or the broker a service still takes work, and says which of them is away."""
    away = Needed()
    away.well = False
    server = serve(Captions(), checks={name: away})

    assert (state(server, name), state(server, SERVICE)) == (NOT_SERVING, SERVING)


def test_a_stopping_server_is_not_ready(serve: Any) -> None:
    """The moment it is told to stop a server says so, and goes on with the call in hand."""
    captions = Captions()
    server = serve(captions, checks={"database": Needed()})
    with rpc.connect(server.address) as channel:
        call = caption_pb2_grpc.CaptionServiceStub(channel).ListCaptions.future(caption_pb2.ListCaptionsRequest())
        assert captions.called.wait(60)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60)
        assert next(watch).status == SERVING
        stopping = threading.Thread(target=server.stop, args=(60,))
        stopping.start()
        assert next(watch).status == NOT_SERVING
        watch.cancel()
        captions.released.set()
        assert call.result(60) is not None
        stopping.join()


def test_health_alone(serve: Any) -> None:
    """A process without a service tells whether it lives, and what it needs."""
    database = Needed()
    server = serve(None, checks={"database": database})
    database.well = False

    assert becomes(server, "database", NOT_SERVING)
    assert state(server, "") == SERVING


def test_the_probe(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The probe exits with 0 when the service is ready, and with 1 when it is not, is unknown, or is not there."""
    database = Needed()
    server = serve(Captions(), checks={"database": database})

    assert [probe.main([server.address, *name]) for name in ([], [SERVICE], ["database"])] == [0, 0, 0]
    assert probe.main([server.address, "longvideo.v1.Another"]) == 1
    assert "SERVICE_UNKNOWN" in capsys.readouterr().out
    database.well = False
    assert becomes(server, SERVICE, NOT_SERVING)
    assert probe.main([server.address, SERVICE]) == 1
    assert probe.main(["127.0.0.1:1"]) == 1
    assert "Connection refused" in capsys.readouterr().out


@pytest.mark.parametrize("public", [False, True])
def test_the_probe_knows_its_own_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], public: bool
) -> None:
    """With the settings of the process the probe gets through TLS, also when the certificate is for another name."""
    given = settings_of(Authority().issue(tmp_path / "service", "longvideo-caption"))
    if public:
        shown = Authority().issue(tmp_path / "public", "longvideo-caption")
        given |= {"api_tls_cert": str(shown.cert), "api_tls_key": str(shown.key)}
    for name, value in given.items():
        monkeypatch.setenv(f"LONGVIDEO_{name.upper()}", value)
    configured = settings.load(api_listen="127.0.0.1:0", caption_listen="127.0.0.1:0")
    api = ports.serve_api(configured, [], None) if public else None
    server = api or ports.serve_internal(configured, "caption_listen", [])

    assert probe.main([server.address, "--name", "longvideo-caption"]) == 0
    assert probe.main([server.address]) == 1
    server.stop(0)
