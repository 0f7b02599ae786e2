"""How the client sends a file to object storage: to a real S3 server, through a proxy that breaks things."""

from __future__ import annotations

import ssl
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from client import uploads
from client.pace import Pace
from longvideo import errors
from longvideo.storage.s3 import S3Store
from longvideo.v1 import orchestrator_pb2 as pb
from tests.certificates import Authority
from tests.parts import KEYS, Moto, Proxy

BUCKET = "uploaded"
KEY = "uploads/default/film"
PART = 5 << 20


class Server:
    """What the orchestrator says of one file, which it wants in parts or at once."""

    def __init__(self, store: S3Store, path: Path, *, in_parts: bool = True) -> None:
        self.store, self.parts = store, store.parts
        self.size = path.stat().st_size
        self.upload = self.parts.begin(KEY) if in_parts else ""
        self.asked = 0

    def create(self) -> pb.CreateVideoResponse:
        """Says which parts are missing."""
        self.asked += 1
        made = pb.CreateVideoResponse()
        made.video.size_bytes = self.size
        if not self.upload:
            made.upload_uri = self.store.upload_uri(KEY, 60)
            return made
        there = self.parts.written(KEY, self.upload)
        for number, offset in enumerate(range(0, self.size, PART), 1):
            if number not in there:
                size = min(PART, self.size - offset)
                uri = self.parts.uri(KEY, self.upload, number, 60)
                made.parts.add(number=number, offset=offset, size_bytes=size, uri=uri)
        return made

    def complete(self) -> bytes:
        """Puts the parts together and returns the object."""
        versions = {number: part.version for number, part in self.parts.written(KEY, self.upload).items()}
        self.parts.complete(KEY, self.upload, versions)
        return self.store.get(KEY)


@pytest.fixture(scope="module")
def bucket(moto: Moto) -> str:
    """A bucket of these tests' own."""
    return moto.make_bucket(BUCKET)


@pytest.fixture
def proxy(moto: Moto, bucket: str) -> Iterator[Proxy]:
    """What stands between the client and the storage."""
    made = Proxy(moto.endpoint)
    yield made
    made.close()


@pytest.fixture
def store(moto: Moto, proxy: Proxy, request: pytest.FixtureRequest) -> S3Store:
    """A store whose clients go through the proxy."""
    prefix = f"t{abs(hash(request.node.nodeid))}"
    return S3Store(BUCKET, prefix, endpoint=moto.endpoint, keys=KEYS, public_endpoint=proxy.endpoint)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file of four parts."""
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(range(256)) * (3 * PART // 256) + b"the end")
    return path


@pytest.fixture
def told() -> list[tuple[float, float]]:
    """What the user was told of the progress."""
    return []


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the pauses between two attempts short."""
    monkeypatch.setattr(uploads, "_PAUSE_SECONDS", 0.01)


def send(server: Server, path: Path, told: list[tuple[float, float]]) -> None:
    """Sends a file."""
    uploads.send(path, server.create(), server.create, lambda done, total: told.append((done, total)))


@pytest.mark.parametrize("in_parts", [True, False])
def test_a_file_arrives(store: S3Store, film: Path, told: list[tuple[float, float]], in_parts: bool) -> None:
    """Every byte arrives in its place, and the user sees how it goes on, from nothing to all."""
    server = Server(store, film, in_parts=in_parts)
    send(server, film, told)
    assert (server.complete() if in_parts else store.get(KEY)) == film.read_bytes()
    size = film.stat().st_size
    assert (told[0], told[-1]) == ((0, size), (size, size))
    assert server.asked == 1


@pytest.mark.parametrize("fault", ["503", "429", "drop", "half", "forget", "cut"])
@pytest.mark.parametrize("in_parts", [True, False])
def test_a_passing_fault(
    store: S3Store, proxy: Proxy, film: Path, told: list[tuple[float, float]], fault: str, in_parts: bool
) -> None:
    """A connection that breaks anywhere, and a server that has too much to do, cost a second try and nothing else."""
    left = [fault] * 5
    proxy.mood = lambda _method, _path: left.pop() if left else "pass"
    server = Server(store, film, in_parts=in_parts)
    send(server, film, told)
    assert (server.complete() if in_parts else store.get(KEY)) == film.read_bytes()
    assert told[-1] == (film.stat().st_size,) * 2


def test_only_what_is_missing_is_sent(
    store: S3Store, proxy: Proxy, film: Path, told: list[tuple[float, float]]
) -> None:
    """An upload that failed half-way goes on, in another run, with the parts that are missing."""
    server = Server(store, film)
    proxy.mood = lambda _method, path: "400" if "partNumber=3" in path else "pass"
    with pytest.raises(errors.FailedPrecondition, match=f"storage at {proxy.endpoint.removeprefix('http://')}.*400"):
        send(server, film, told)
    there = set(server.parts.written(KEY, server.upload))
    assert 3 not in there
    proxy.mood = lambda _method, _path: "pass"
    proxy.requests.clear()
    told.clear()
    send(server, film, told)
    assert len(proxy.requests) == 4 - len(there)
    assert told[0][0] == sum(PART if number < 4 else 7 for number in there)
    assert server.complete() == film.read_bytes()


def test_urls_that_have_expired(store: S3Store, proxy: Proxy, film: Path, told: list[tuple[float, float]]) -> None:
    """When the URLs can no longer be used the server is asked for new ones, and what has arrived is not sent again."""
    server = Server(store, film)
    taken: list[str] = []

    def mood(_method: str, path: str) -> str:
        if server.asked == 1 and len(taken) == 2:
            return "403"
        taken.append(path)
        return "pass"

    proxy.mood = mood
    send(server, film, told)
    assert server.asked == 2
    assert len(taken) == 4
    assert server.complete() == film.read_bytes()


def test_urls_that_never_work(store: S3Store, proxy: Proxy, film: Path, told: list[tuple[float, float]]) -> None:
    """A storage that refuses new URLs too is named, with what it said."""
    server = Server(store, film)
    proxy.mood = lambda _method, _path: "403"
    with pytest.raises(errors.FailedPrecondition, match=r"storage at 127\.0\.0\.1:\d+ does not take the upload: 403"):
        send(server, film, told)
    assert server.asked == 3


def test_a_storage_that_stays_broken(store: S3Store, proxy: Proxy, film: Path, told: list[tuple[float, float]]) -> None:
    """When trying again does not help, the message says so, and that the upload goes on later."""
    proxy.mood = lambda _method, _path: "503"
    with pytest.raises(errors.StorageUnavailable, match=r"cannot take the upload now: 503.*goes on from there"):
        send(Server(store, film), film, told)


def test_a_storage_that_cannot_be_reached(
    store: S3Store, proxy: Proxy, film: Path, told: list[tuple[float, float]]
) -> None:
    """A storage that this machine cannot reach is named by its host."""
    server = Server(store, film)
    proxy.close()
    host = proxy.endpoint.removeprefix("http://")
    with pytest.raises(
        errors.StorageUnavailable, match=f"cannot reach the storage at {host} from this machine.*refused"
    ):
        send(server, film, told)


def test_a_file_that_shrinks(store: S3Store, film: Path, told: list[tuple[float, float]]) -> None:
    """A file that was cut short after it was announced is named, and nothing hangs."""
    server = Server(store, film)
    film.write_bytes(b"short")
    with pytest.raises(errors.FailedPrecondition, match=r"film\.mp4 was changed while it was uploaded"):
        send(server, film, told)


def test_a_full_storage(store: S3Store, proxy: Proxy, film: Path, told: list[tuple[float, float]]) -> None:
    """A storage without space says so as a full disk does."""
    proxy.mood = lambda _method, _path: "507"
    with pytest.raises(errors.StorageFull, match="is full"):
        send(Server(store, film), film, told)


def test_memory_stays_constant(moto: Moto, bucket: str, film: Path) -> None:
    """A file is never in memory: not even one part of it."""
    server = Server(S3Store(bucket, "memory", endpoint=moto.endpoint, keys=KEYS), film, in_parts=False)
    created = server.create()
    tracemalloc.start()
    uploads.send(film, created, server.create, lambda _done, _total: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


def test_a_server_that_wants_a_file_replaced(tmp_path: Path, film: Path) -> None:
    """A server cannot make the command write to a file but one that is called after the digest of the bytes."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"kept")
    created = pb.CreateVideoResponse(upload_uri=precious.as_uri())
    created.video.name = "videos/" + "0" * 64
    with pytest.raises(errors.FailedPrecondition, match="cannot write to"):
        uploads.send(film, created, lambda: created, lambda _done, _total: None)
    assert precious.read_bytes() == b"kept"


class Https:
    """An HTTPS server that takes everything, with a certificate of an authority."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        identity = authority.issue(folder)
        self.taken: list[bytes] = []
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                taken.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.cert, identity.key)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_trust(tmp_path: Path) -> None:
    """A storage with TLS gets the bytes when its authority is known, and not one of them when it is not."""
    path = tmp_path / "film"
    path.write_bytes(b"moving pictures")
    https = Https(Authority(), tmp_path / "server")
    created = pb.CreateVideoResponse(upload_uri=f"https://127.0.0.1:{https.server.server_address[1]}/films/a?x=y")
    created.video.size_bytes = 15
    try:
        with pytest.raises(errors.StorageUnavailable, match=r"127\.0\.0\.1:\d+ cannot be trusted.*LONGVIDEO_TLS_CA"):
            uploads.send(path, created, lambda: created, lambda _done, _total: None)
        assert https.taken == []
        uploads.send(path, created, lambda: created, lambda _done, _total: None, tmp_path / "server" / "ca.crt")
        assert https.taken == [b"moving pictures"]
        with pytest.raises(errors.BadSettings, match="tls_ca"):
            uploads.send(path, created, lambda: created, lambda _done, _total: None, path)
    finally:
        https.server.shutdown()
        https.server.server_close()


def test_the_pace() -> None:
    """The rate counts what was sent in this run, and the rest is told from it."""
    now = [100.0]
    pace = Pace(lambda: now[0])
    pace.moved(400e6, 1400e6)
    assert pace.now() == "400 MB of 1.4 GB"
    now[0] += 20
    pace.moved(900e6, 1400e6)
    assert pace.now() == "900 MB of 1.4 GB, 25 MB/s, 0:20 left"
    assert [pace.line_is_due(), pace.line_is_due()] == [True, False]
    now[0] += 20
    pace.moved(1400e6, 1400e6)
    assert pace.all() == "1 GB in 0:40.0, 25 MB/s"
