"""The stoppable transport over TLS, and what it does with connections."""

from __future__ import annotations

import itertools
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from longvideo import transport
from longvideo.errors import Cancelled, DeadlineExceeded, ModelUnavailable
from longvideo.inference import Endpoint, ModelClient
from longvideo.testing import Reply, ScriptedModelServer
from longvideo.transport import LONGEST_SLICE, SLICE, patience
from tests.contract.model_server import asked, soon


def test_patience_grows() -> None:
    """Whoever waits looks soon at first, then more and more rarely, but at least once a second."""
    pauses = list(itertools.islice(patience(), 20))
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (SLICE, LONGEST_SLICE)
    assert LONGEST_SLICE <= 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        (
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path.with_suffix(".crt")),
        ),
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def answer(request: dict[str, object]) -> Reply | str:
    """Answers, or is silent when asked slowly."""
    return Reply.silence() if "slowly" in str(request["messages"]) else "fine"


@pytest.fixture
def server(certificate: Path) -> Iterator[ScriptedModelServer]:
    """A server that speaks https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ScriptedModelServer(answer, tls=context) as running:
        yield running


def client_of(url: str) -> ModelClient:
    """Returns a client that does not pause."""
    endpoint = Endpoint(url=url, roles={"qa"}, model="scripted")
    return ModelClient("qa", [endpoint], jitter=lambda longest: 0.0, max_attempts=2)


def test_https(server: ScriptedModelServer, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS, requests are answered on one connection, cancelled in the middle, and end at their deadline."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    client = client_of(server.url)
    for _ in range(3):
        assert client.complete(asked("x" * 100_000), max_tokens=9, deadline=soon()).text == "fine"
    with pytest.raises(Cancelled):
        client.complete(asked("slowly"), max_tokens=9, deadline=soon(), cancelled=lambda: len(server.requests) > 3)
    with pytest.raises(DeadlineExceeded):
        client.complete(asked("slowly"), max_tokens=9, deadline=time.monotonic() + 0.5)
    assert client.complete(asked("x"), max_tokens=9, deadline=soon()).text == "fine"
    client.close()


def test_a_stranger_s_certificate(server: ScriptedModelServer) -> None:
    """A certificate that nobody vouches for is refused, and named as the cause."""
    client = client_of(server.url)
    with pytest.raises(ModelUnavailable, match="certificate"):
        client.complete(asked("x"), max_tokens=9, deadline=soon())
    assert server.requests == []
    client.close()


def test_https_to_a_server_without_it() -> None:
    """A server that does not speak TLS is unavailable by https."""
    with ScriptedModelServer(answer) as plain:
        client = client_of(plain.url.replace("http:", "https:"))
        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            client.complete(asked("x"), max_tokens=9, deadline=soon())
        client.close()


def test_a_handshake_that_does_not_come(certificate: Path) -> None:
    """A server that accepts and says nothing does not outlive the deadline of a TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        client = client_of(f"https://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(DeadlineExceeded):
            client.complete(asked("x"), max_tokens=9, deadline=time.monotonic() + 0.4)
        client.close()


def test_a_full_queue() -> None:
    """A connection that is not accepted ends at the deadline."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        client = client_of(f"http://127.0.0.1:{full.getsockname()[1]}")
        with pytest.raises(DeadlineExceeded):
            client.complete(asked("x"), max_tokens=9, deadline=time.monotonic() + 0.4)
        for one in waiting:
            one.close()
        client.close()


def test_connections_are_used_again() -> None:
    """Requests one after the other share a connection."""
    with ScriptedModelServer(answer) as server:
        client = client_of(server.url)
        for _ in range(5):
            client.complete(asked("x"), max_tokens=9, deadline=soon())
        assert server.connections == 1
        client.close()


def test_old_connections_make_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that has reached its age is not used again, so that added replicas are given requests too."""
    monkeypatch.setattr(transport, "CONNECTION_AGE", 0.0)
    with ScriptedModelServer(answer) as server:
        client = client_of(server.url)
        for number in range(1, 4):
            client.complete(asked("x"), max_tokens=9, deadline=soon())
            assert server.connections >= number
        client.close()
