"""The command against a server that keeps its data in a bucket: bytes go straight to the storage, whatever breaks."""

from __future__ import annotations

import hashlib
import io
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from minio import Minio

from client import cli, pace
from longvideo.storage.s3 import S3Store
from tests.contract.orchestrator_world import World
from tests.e2e.conftest import Ran, start
from tests.parts import KEYS, Moto, Proxy

BUCKET, ARCHIVE = "e2e-kept", "e2e-archive"
PART = 5 << 20


class Site:
    """A server on another machine, as it were: nothing of its data directory is used, and a proxy guards the bucket."""

    def __init__(self, directory: Path, moto: Moto) -> None:
        self.proxy = Proxy(moto.endpoint)
        prefix = f"t{uuid.uuid4().hex}"
        url = f"{moto.object_store(BUCKET, prefix)}&public_endpoint={self.proxy.endpoint}"
        settings = {"upload_parts_above": PART, "upload_part_bytes": PART, "import_buckets": (ARCHIVE,)}
        self.world = World(directory, object_store=url, **settings)
        self.store = S3Store(BUCKET, prefix, endpoint=moto.endpoint, keys=KEYS)
        self.where = ("--server", self.world.server.address)

    def holds(self, path: Path) -> bool:
        """Tells whether the storage has exactly the file, as a video, and nothing else of it."""
        data = path.read_bytes()
        kept = self.store.get(f"videos/{hashlib.sha256(data).hexdigest()}/source")
        return kept == data and not list(self.store.list("uploads/")) and not list(self.store.parts.unfinished(""))

    def parts_sent(self) -> int:
        """Returns how many parts were sent, again ones too."""
        return sum("partNumber=" in path for _, path in self.proxy.requests)


@pytest.fixture(scope="module")
def buckets(moto: Moto) -> Minio:
    """The buckets, as their operator sees them."""
    for name in (BUCKET, ARCHIVE):
        moto.make_bucket(name)
    return Minio(moto.address, *KEYS[:2], secure=False, region="us-east-1")


@pytest.fixture
def site(tmp_path: Path, moto: Moto, buckets: Minio) -> Iterator[Site]:
    """A server of the test's own."""
    made = Site(tmp_path / "server", moto)
    yield made
    made.world.close()
    made.proxy.close()


@pytest.fixture
def film(tmp_path: Path, talk: Path) -> Path:
    """A real video file of three parts."""
    fill = bytes(2 * PART)
    path = tmp_path / "a film.mp4"
    path.write_bytes(talk.read_bytes() + (8 + len(fill)).to_bytes(4, "big") + b"free" + fill)
    return path


def run(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> Ran:
    """Runs a command in this process."""
    capsys.readouterr()
    code = cli.run([*map(str, argv)])
    out, err = capsys.readouterr()
    return Ran(code, out, err)


@pytest.mark.parametrize("fault", ["503", "half", "forget"])
def test_adding_over_a_bad_line(site: Site, film: Path, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    """Connections that break, and a storage that is busy, cost a few more requests; the video is the right one."""
    left = [fault] * 4
    site.proxy.mood = lambda _method, _path: left.pop() if left else "pass"
    ran = run(capsys, "videos", "add", film, *site.where)
    assert ran.code == 0, ran.err
    assert "Upload    10.5 MB in " in ran.out
    assert "Name      videos/" in ran.out
    assert site.holds(film)
    assert site.parts_sent() == 3 + 4
    again = run(capsys, "videos", "add", film, *site.where)
    assert (again.code, "Upload" in again.out) == (0, False)
    assert site.parts_sent() == 3 + 4


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_running_the_command_again(
    site: Site, film: Path, capsys: pytest.CaptureFixture[str], end: signal.Signals
) -> None:
    """After Ctrl-C, and after a crash, the same command goes on with what is missing."""
    arrived, held = threading.Event(), threading.Event()

    def mood(_method: str, path: str) -> str:
        if "partNumber=1&" in path:
            return "pass"
        arrived.wait(60)
        held.wait(60)
        return "drop"

    site.proxy.mood = mood
    command = start("videos", "add", film, *site.where)
    watching = threading.Thread(target=_wait_for_part, args=(site, arrived), daemon=True)
    watching.start()
    assert arrived.wait(60)
    command.send_signal(end)
    out, err = command.communicate(timeout=30)
    held.set()
    assert command.returncode == (130 if end == signal.SIGINT else -signal.SIGKILL), err
    assert (("goes on from there" in err) or ("Stopped." in err)) == (end == signal.SIGINT)
    assert "Name" not in out
    site.proxy.mood = lambda _method, _path: "pass"
    site.proxy.requests.clear()
    ran = run(capsys, "videos", "add", film, *site.where)
    assert ran.code == 0, ran.err
    assert "Upload    goes on: 5.24 MB of 10.5 MB are there" in ran.out
    assert site.parts_sent() == 2
    assert site.holds(film)


def _wait_for_part(site: Site, arrived: threading.Event) -> None:
    """Waits until the first part is there."""
    while not arrived.is_set():
        for found in site.store.parts.unfinished("uploads/"):
            if 1 in site.store.parts.written(*found):
                arrived.set()
        arrived.wait(0.05)


def test_asking_about_a_file(site: Site, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A question about a file needs nothing but the server and its storage."""
    ran = run(capsys, "ask", film, "Which letter is it?", "-q", *site.where)
    assert (ran.code, ran.out) == (0, "B\n"), ran.err
    assert site.holds(film)


def test_lines_for_who_has_no_terminal(
    site: Site, film: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no bar, a line now and then says how far an upload is."""
    monkeypatch.setattr(pace, "LINE_SECONDS", 0.0)
    ran = run(capsys, "videos", "add", film, *site.where)
    assert ran.code == 0, ran.err
    assert any(" of 10.5 MB, " in line and line.endswith(" left") for line in ran.out.splitlines())
    assert "\x1b" not in ran.out


def test_a_storage_out_of_reach(site: Site, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine that reaches the server and not its storage says which host that is."""
    site.proxy.close()
    ran = run(capsys, "videos", "add", film, *site.where)
    assert ran.code == 2
    host = site.proxy.endpoint.removeprefix("http://")
    assert f"cannot reach the storage at {host} from this machine" in ran.err


def test_adding_an_object(site: Site, film: Path, buckets: Minio, capsys: pytest.CaptureFixture[str]) -> None:
    """An object of a listed bucket is added by its name; of another bucket nothing is taken."""
    data = film.read_bytes()
    buckets.put_object(ARCHIVE, "2024/talk.mp4", io.BytesIO(data), len(data))
    ran = run(capsys, "videos", "add", f"s3://{ARCHIVE}/2024/talk.mp4", *site.where)
    assert ran.code == 0, ran.err
    assert "talk.mp4" in ran.out
    assert site.holds(film)
    assert site.proxy.requests == []
    refused = run(capsys, "videos", "add", "s3://elsewhere/talk.mp4", *site.where)
    assert refused.code == 2
    assert "import_buckets" in refused.err
