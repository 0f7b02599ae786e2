"""Servers with TLS and tokens, as the command meets them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client import cli
from longvideo import auth, errors, rpc, tls
from longvideo.v1 import orchestrator_pb2_grpc
from tests.certificates import Authority
from tests.contract.client.fake_orchestrator import FakeOrchestrator

TOKEN = "lv_ada_hush-hush"


def authenticate(token: str) -> auth.Caller:
    """Knows one token."""
    if token != TOKEN:
        raise errors.Unauthenticated("The token is not known.")
    return auth.LOCAL


Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts an orchestrator with these certificates, which asks for a token or not; gives its address."""
    servers = []

    def start(identity: tls.Identity | None = None, *, tokens: bool = True) -> str:
        fake = FakeOrchestrator(tmp_path / "uploads")
        add = orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server
        shown = tls.server_credentials(dataclasses.replace(identity, ca=None)) if identity else None
        service: rpc.Service = ("longvideo.v1.OrchestratorService", add, fake)
        servers.append(rpc.serve([service], tls=shown, authenticate=authenticate if tokens else None))
        return servers[-1].address

    yield start
    for server in servers:
        server.stop(0)


@pytest.fixture
def asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Lists the videos of a server with this environment; returns the exit code and what was said about errors."""

    def run(server: str, **environment: str | Path) -> tuple[int, str]:
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(f"LONGVIDEO_{name}", str(value))
            capsys.readouterr()
            code = cli.run(["videos", "list", "--server", server])
        shown = capsys.readouterr()
        assert "hush" not in shown.out + shown.err
        return code, shown.err

    return run


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority of the servers."""
    return Authority()


def test_a_server_with_tls_and_tokens(serve: Serve, asked: Callable[..., tuple[int, str]], authority: Authority,
                                      tmp_path: Path) -> None:  # fmt: skip
    """The command believes LONGVIDEO_TLS_CA, and shows the token of its variable or of its file."""
    identity = authority.issue(tmp_path)
    address = serve(identity)
    (tmp_path / "token").write_text(TOKEN + "\n")

    assert asked(f"https://{address}", TLS_CA=str(identity.ca), TOKEN=TOKEN) == (0, "")
    assert asked(f"https://{address}/", TLS_CA=str(identity.ca), TOKEN_FILE=tmp_path / "token") == (0, "")


def test_a_token_is_asked_for(serve: Serve, asked: Callable[..., tuple[int, str]]) -> None:
    """Without a token the command says where to put one; with a wrong one it says that the server does not take it."""
    address = serve()

    code, said = asked(address)
    assert (code, "LONGVIDEO_TOKEN_FILE" in said) == (2, True)
    code, said = asked(address, TOKEN="lv_eve_hush")
    assert (code, "does not take the token in LONGVIDEO_TOKEN: The token is not known" in said) == (2, True)
    assert asked(address, TOKEN=TOKEN) == (0, "")


def test_a_token_does_not_travel_in_the_open(asked: Callable[..., tuple[int, str]]) -> None:
    """A token and a plain address of another machine are refused before anything is sent."""
    code, said = asked("longvideo.example:7700", TOKEN=TOKEN)

    assert (code, "use --server https://longvideo.example:7700" in said) == (2, True)


def test_what_is_wrong_with_a_connection(
    serve: Serve, asked: Callable[..., tuple[int, str]], authority: Authority, tmp_path: Path
) -> None:
    """Another authority, another name, and TLS on one side only: each gets one sentence with the way on."""
    ca = authority.issue(tmp_path / "client").ca
    foreign = Authority().issue(tmp_path / "foreign").ca
    good, other, plain = serve(authority.issue(tmp_path)), serve(authority.issue(tmp_path / "o", "else.where")), serve()
    cases = [
        (f"https://{good}", foreign, f"that {foreign} (LONGVIDEO_TLS_CA) did not issue"),
        (f"https://{good}", None, "that the system's authorities did not issue"),
        (f"https://{other}", ca, "is not for 127.0.0.1"),
        (f"https://{plain}", ca, f"speaks no TLS; use --server {plain}"),
        (good, ca, f"use --server https://{good}"),
        ("https://127.0.0.1:1", ca, "No longvideo server answers at https://127.0.0.1:1"),
        (f"https://{good}", tmp_path / "nowhere", "tls_ca is"),
    ]
    for server, believed, said in cases:
        code, shown = asked(server, **({"TLS_CA": believed} if believed else {}), TOKEN=TOKEN)
        assert code == 2
        assert said in shown
        assert shown.count("\n") == 1


@pytest.mark.parametrize(
    "server", ["http://host:7700", "https://", "https://host:x", "https://u:p@host", "https://h/x"]
)
def test_an_address_that_is_none(asked: Callable[..., tuple[int, str]], server: str) -> None:
    """What is neither HOST:PORT nor https://HOST:PORT is refused with both forms."""
    code, said = asked(server)

    assert (code, "127.0.0.1:7700, or https://host:7700" in said) == (2, True)
