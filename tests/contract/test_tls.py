"""Certificates over real connections: who gets through to a port, and who does not."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from longvideo import auth, errors, ports, rpc, settings, tls
from longvideo.v1 import caption_pb2, caption_pb2_grpc
from tests.certificates import Authority, settings_of

SERVICE = "longvideo.v1.CaptionService"


class Captions(caption_pb2_grpc.CaptionServiceServicer):
    """Knows no captions, and says so when the gate is open. `entered` counts who came to it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def ListCaptions(self, request: Any, context: Any) -> caption_pb2.ListCaptionsResponse:  # noqa: N802
        self.entered.release()
        self.gate.wait(20)
        return caption_pb2.ListCaptionsResponse()


CAPTIONS = Captions()
CAPTIONS.gate.set()
SERVICES: list[rpc.Service] = [(SERVICE, caption_pb2_grpc.add_CaptionServiceServicer_to_server, CAPTIONS)]


@pytest.fixture
def started() -> Iterator[Callable[[rpc.Server], str]]:
    """Stops a server at the end, and gives its address."""
    servers: list[rpc.Server] = []

    def start(server: rpc.Server) -> str:
        servers.append(server)
        return server.address

    yield start
    for server in servers:
        server.stop(0)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority of the services."""
    return Authority()


def internal(identity: tls.Identity, *services: rpc.Service) -> rpc.Server:
    """Starts a server for other services."""
    return ports.serve_internal(
        settings.load(caption_listen="127.0.0.1:0", **settings_of(identity)), "caption_listen", services or SERVICES
    )


def asks(address: str, credentials: grpc.ChannelCredentials | tls.Identity | None = None, token: str = "") -> bool:
    """Tells whether a call gets through. Raises what it raises when the connection stands."""
    with rpc.connect(address, tls=credentials, token=token) as channel:
        try:
            caption_pb2_grpc.CaptionServiceStub(channel).ListCaptions(caption_pb2.ListCaptionsRequest(), timeout=20)
        except errors.Unavailable:
            return False
        return True


def test_services_know_each_other(started: Any, authority: Authority, tmp_path: Path) -> None:
    """A service lets in whoever has a certificate of its own authority, and nobody else."""
    address = started(internal(authority.issue(tmp_path / "service")))
    caller = authority.issue(tmp_path / "caller", "orchestrator")
    stranger = dataclasses.replace(Authority().issue(tmp_path / "stranger"), ca=caller.ca)

    configured = settings.load(caption_address=address, **settings_of(caller))
    with ports.connect(configured, "caption_address") as channel:
        caption_pb2_grpc.CaptionServiceStub(channel).ListCaptions(caption_pb2.ListCaptionsRequest(), timeout=20)
    assert not asks(address)
    assert not asks(address, tls.believing(authority.pem))
    assert not asks(address, stranger)


def test_a_service_must_be_whom_it_says(started: Any, authority: Authority, tmp_path: Path) -> None:
    """A caller does not talk to a service with another name's certificate, or with another authority's."""
    caller = authority.issue(tmp_path / "caller")

    assert not asks(started(internal(authority.issue(tmp_path / "other", "somebody.else"))), caller)
    assert not asks(started(internal(Authority().issue(tmp_path / "foreign"))), caller)


def test_clients_need_no_certificate(started: Any, authority: Authority, tmp_path: Path) -> None:
    """The API shows a certificate of its own, asks for tokens, and lets in clients that believe its authority."""
    inside, public = authority.issue(tmp_path / "inside"), Authority()
    shown = public.issue(tmp_path / "public")

    def authenticate(token: str) -> auth.Caller:
        if token != "lv_ada":
            raise errors.Unauthenticated("no")
        return auth.Caller("ada", frozenset())

    configured = settings.load(
        api_listen="127.0.0.1:0", api_tls_cert=shown.cert, api_tls_key=shown.key, **settings_of(inside)
    )
    address = started(ports.serve_api(configured, SERVICES, authenticate))

    assert asks(address, tls.believing(public.pem), "lv_ada")
    assert not asks(address, tls.believing(authority.pem), "lv_ada")
    with pytest.raises(errors.Unauthenticated):
        asks(address, tls.believing(public.pem))


def test_the_api_shows_the_services_certificate(started: Any, authority: Authority, tmp_path: Path) -> None:
    """Without a certificate of its own the API shows the process's, and still asks clients for none."""
    configured = settings.load(api_listen="127.0.0.1:0", **settings_of(authority.issue(tmp_path)))

    assert asks(started(ports.serve_api(configured, SERVICES, None)), tls.believing(authority.pem))


def test_renewed_files_are_taken_up(
    started: Any, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """New connections see files that were replaced; files of no use are logged, and the good ones stay."""
    identity = authority.issue(tmp_path / "service")
    address = started(internal(identity))
    caller = authority.issue(tmp_path / "caller")
    assert asks(address, caller)

    identity.key.write_text("-----BEGIN NOTHING-----\n")
    with caplog.at_level(logging.WARNING, "longvideo.tls"):
        assert asks(address, caller)
    assert "tls_key" in caplog.text

    renewed = Authority()
    renewed.issue(tmp_path / "service")
    assert not asks(address, caller)
    assert asks(address, renewed.issue(tmp_path / "new-caller"))


def test_callers_show_renewed_files(started: Any, authority: Authority, tmp_path: Path) -> None:
    """A channel that is open goes on when both sides' certificates are replaced, and so does a call under way."""
    captions = Captions()
    service: rpc.Service = (SERVICE, caption_pb2_grpc.add_CaptionServiceServicer_to_server, captions)
    address = started(internal(authority.issue(tmp_path / "service"), service))
    caller = authority.issue(tmp_path / "caller")
    with rpc.connect(address, tls=caller) as channel:
        stub = caption_pb2_grpc.CaptionServiceStub(channel)
        under_way = stub.ListCaptions.future(caption_pb2.ListCaptionsRequest(), timeout=20)
        assert captions.entered.acquire(timeout=20)
        renewed = Authority()
        renewed.issue(tmp_path / "service")
        assert not asks(address, caller)
        renewed.issue(tmp_path / "caller")
        after = stub.ListCaptions.future(caption_pb2.ListCaptionsRequest(), timeout=20)
        captions.gate.set()
        assert (under_way.result(20), after.result(20)) == (caption_pb2.ListCaptionsResponse(),) * 2


def test_files_of_no_use_say_why(authority: Authority, tmp_path: Path) -> None:
    """A file that is missing, is no PEM, or belongs to another certificate stops the start with one clear sentence."""
    good, other = authority.issue(tmp_path / "good"), authority.issue(tmp_path / "other")
    junk = tmp_path / "junk"
    junk.write_text("junk")
    cases: list[tuple[tls.Identity, str]] = [
        (dataclasses.replace(good, cert=tmp_path / "nowhere"), "tls_cert is .*nowhere, which cannot be read: No such"),
        (dataclasses.replace(good, key=tmp_path), "tls_key is .*, which cannot be read: Is a directory"),
        (dataclasses.replace(good, cert=junk), "tls_cert .*junk.* cannot be used"),
        (dataclasses.replace(good, key=other.key), "cannot be used: key values mismatch"),
        (dataclasses.replace(good, ca=junk), "tls_ca is .*junk, which holds no PEM certificate"),
    ]
    for identity, said in cases:
        with pytest.raises(errors.BadSettings, match=said) as caught:
            internal(identity)
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_a_port_for_others_is_guarded(started: Any, authority: Authority, tmp_path: Path, address: str) -> None:
    """A port that other machines can reach needs TLS, the API's tokens too, unless the settings say insecure."""
    identity = settings_of(authority.issue(tmp_path))
    bare = settings.load(api_listen=address, caption_listen=address)

    with pytest.raises(errors.BadSettings, match=r"caption_listen is .*tls_cert, tls_key and tls_ca, or insecure=true"):
        ports.serve_internal(bare, "caption_listen", SERVICES)
    with pytest.raises(errors.BadSettings, match=r"api_listen is .*api_tls_cert and api_tls_key, or insecure=true"):
        ports.serve_api(bare, SERVICES, lambda _: auth.LOCAL)
    with pytest.raises(errors.BadSettings, match=r"api_listen is .*auth=tokens, or insecure=true"):
        ports.serve_api(settings.load(api_listen=address, **identity), SERVICES, None)
    started(ports.serve_api(settings.load(api_listen=address, insecure=True), SERVICES, None))


def test_services_elsewhere_are_not_called_in_the_open() -> None:
    """A channel to another machine needs TLS, unless the settings say insecure."""
    with pytest.raises(errors.BadSettings, match="caption_address is longvideo-caption:7701"):
        ports.connect(settings.load(caption_address="longvideo-caption:7701"), "caption_address")
    ports.connect(settings.load(caption_address="longvideo-caption:7701", insecure=True), "caption_address").close()
