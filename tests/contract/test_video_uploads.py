"""How videos get into a server that keeps its data in a bucket, over real gRPC and on a real S3 server."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from longvideo import errors, rpc
from longvideo.storage import verifying_key
from longvideo.storage.s3 import S3Store
from longvideo.v1 import orchestrator_pb2 as pb
from longvideo.v1 import types_pb2
from longvideo.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from orchestrator import tokens
from orchestrator.celery_app import CLEAN, make_app
from orchestrator.cleaning import Cleaner
from tests.contract.orchestrator_world import World, film
from tests.parts import KEYS, Moto, Proxy

BUCKET, ARCHIVE = "kept", "archive-of-films"
PART = 5 << 20
READY, PENDING = types_pb2.Video.STATE_READY, types_pb2.Video.STATE_PENDING


class Storage:
    """An orchestrator on a part of a bucket of its own, behind a proxy."""

    def __init__(self, directory: Path, moto: Moto, **options: Any) -> None:
        self.proxy = Proxy(moto.endpoint)
        self.prefix = f"t{uuid.uuid4().hex}"
        url = moto.object_store(BUCKET, self.prefix, self.proxy.endpoint)
        settings = {"upload_parts_above": PART, "upload_part_bytes": PART, "import_buckets": (ARCHIVE,)}
        self.world = World(directory, work=False, object_store=url, **settings, **options)
        self.stub = self.world.stub
        self.store = S3Store(BUCKET, self.prefix, endpoint=moto.endpoint, keys=KEYS)

    def close(self) -> None:
        """Stops the orchestrator and the proxy."""
        self.world.close()
        self.proxy.close()

    def complete(self, created: pb.CreateVideoResponse) -> types_pb2.Video:
        """Says that all bytes of a video were written."""
        return self.stub.CompleteVideo(pb.CompleteVideoRequest(name=created.video.name))

    def left(self) -> list[str]:
        """Returns what lies in the bucket, objects and open uploads, but for the videos."""
        objects = [key for key in self.store.list("") if not key.startswith("videos/")]
        return objects + [found.key for found in self.store.parts.unfinished("")]

    def clean(self, expiry: float = 0.0) -> int:
        """Cleans up, by default as if everything was abandoned."""
        return Cleaner(self.world.database, self.world.objects, expiry).clean()


@pytest.fixture(scope="module")
def buckets(moto: Moto) -> Minio:
    """The buckets, as their operator sees them."""
    for name in (BUCKET, ARCHIVE):
        moto.make_bucket(name)
    return Minio(moto.address, *KEYS[:2], secure=False, region="us-east-1")


@pytest.fixture
def storage(tmp_path: Path, moto: Moto, buckets: Minio) -> Iterator[Storage]:
    """An orchestrator of the test's own."""
    made = Storage(tmp_path / "data", moto)
    yield made
    made.close()


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video file."""
    return film(tmp_path_factory.mktemp("film")).read_bytes()


def padded(data: bytes, size: int = 0) -> bytes:
    """Returns a video with the same frames and other bytes, at least so many."""
    fill = uuid.uuid4().bytes + bytes(max(0, size - len(data) - 24))
    return data + (8 + len(fill)).to_bytes(4, "big") + b"free" + fill


@pytest.fixture
def small(encoded: bytes) -> bytes:
    """A video that goes up at once."""
    return padded(encoded)


@pytest.fixture
def large(encoded: bytes) -> bytes:
    """A video that goes up in three parts."""
    return padded(encoded, 2 * PART + 1000)


def put(url: str, data: bytes) -> None:
    """Sends one PUT, as whoever has the URL can."""
    headers = {"content-type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method="PUT")) as answer:
        assert answer.status == 200


def create(stub: Any, data: bytes, name: str = "a film.mp4") -> pb.CreateVideoResponse:
    """Announces a video."""
    digest = hashlib.sha256(data).hexdigest()
    created: pb.CreateVideoResponse = stub.CreateVideo(
        pb.CreateVideoRequest(sha256=digest, size_bytes=len(data), display_name=name)
    )
    return created


def write(created: pb.CreateVideoResponse, data: bytes) -> None:
    """Writes what is wanted."""
    if created.upload_uri:
        put(created.upload_uri, data)
    for part in created.parts:
        put(part.uri, data[part.offset : part.offset + part.size_bytes])


# How bytes come


def test_a_small_file(storage: Storage, small: bytes) -> None:
    """A small file goes to one URL, and then lies where no URL leads to."""
    created = create(storage.stub, small)
    assert created.upload_uri.startswith(f"{storage.proxy.endpoint}/{BUCKET}/{storage.prefix}/uploads/default/")
    assert not created.parts
    assert created.expire_time.seconds > created.video.create_time.seconds
    write(created, small)
    video = storage.complete(created)
    assert (video.state, video.display_name, video.frame_count) == (READY, "a film.mp4", 80)
    assert storage.store.get(f"{video.name}/source") == small
    assert storage.left() == []
    again = create(storage.stub, small)
    assert (again.video.state, again.upload_uri, list(again.parts)) == (READY, "", [])


def test_a_large_file(storage: Storage, large: bytes) -> None:
    """A large file goes up in parts that cover it, and an upload goes on with those that are missing."""
    created = create(storage.stub, large)
    assert created.upload_uri == ""
    assert [(part.number, part.offset, part.size_bytes) for part in created.parts] == [
        (1, 0, PART),
        (2, PART, PART),
        (3, 2 * PART, len(large) - 2 * PART),
    ]
    put(created.parts[1].uri, large[PART : 2 * PART])
    put(created.parts[2].uri, b"too short")
    missing = create(storage.stub, large)
    assert [part.number for part in missing.parts] == [1, 3]
    with pytest.raises(errors.FailedPrecondition, match="2 of 3 parts") as caught:
        storage.complete(created)
    assert caught.value.reason == "UPLOAD_INCOMPLETE"
    write(missing, large)
    nothing = create(storage.stub, large)
    assert (nothing.upload_uri, list(nothing.parts), nothing.video.state) == ("", [], PENDING)
    assert storage.complete(created).state == READY
    assert storage.store.get(f"{created.video.name}/source") == large
    assert storage.left() == []


def test_an_upload_that_the_storage_gave_up(storage: Storage, large: bytes) -> None:
    """When the storage has forgotten an upload it is begun anew."""
    created = create(storage.stub, large)
    put(created.parts[0].uri, large[:PART])
    for found in storage.store.parts.unfinished("uploads/"):
        storage.store.parts.abort(*found)
    again = create(storage.stub, large)
    assert len(again.parts) == 3
    write(again, large)
    assert storage.complete(created).state == READY


@pytest.mark.parametrize("which", ["small", "large"])
def test_wrong_bytes(storage: Storage, which: str, request: pytest.FixtureRequest) -> None:
    """Other bytes than those announced are removed, and the right ones may come after."""
    data: bytes = request.getfixturevalue(which)
    created = create(storage.stub, data)
    write(created, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(errors.UploadChanged, match="have the SHA-256"):
        storage.complete(created)
    assert storage.left() == []
    assert list(storage.store.list("videos/")) == []
    with pytest.raises(errors.FailedPrecondition, match="nothing was uploaded"):
        storage.complete(created)
    write(create(storage.stub, data), data)
    assert storage.complete(created).state == READY


def test_not_a_video(storage: Storage) -> None:
    """Bytes that are no video are removed, and the message calls them by the name of their file."""
    data = b"not a video" * 1000
    created = create(storage.stub, data, "notes.mp4")
    write(created, data)
    with pytest.raises(errors.BadMedia, match=r"^notes\.mp4 "):
        storage.complete(created)
    assert list(storage.store.list("")) == []


def test_a_url_that_is_used_later(storage: Storage, small: bytes) -> None:
    """A URL that is used again after its video is ready changes nothing, and what it wrote is removed."""
    created = create(storage.stub, small)
    write(created, small)
    video = storage.complete(created)
    put(created.upload_uri, b"something else")
    assert storage.store.get(f"{video.name}/source") == small
    assert create(storage.stub, small).video.state == READY
    assert storage.left() != []
    assert storage.clean(expiry=1000) == 1
    assert storage.left() == []


def test_bytes_that_change_while_they_are_checked(storage: Storage, small: bytes) -> None:
    """Who writes other bytes after the digest was computed gets an error, and no video."""
    created = create(storage.stub, small)
    write(created, small)
    harmed = threading.Event()

    def mood(method: str, path: str) -> str:
        # The copy is the first thing that is written to the video's own place.
        if method == "PUT" and path.partition("?")[0].endswith("/source") and not harmed.is_set():
            harmed.set()
            storage.store.put(created.video.name.replace("videos/", "uploads/default/"), b"x" * len(small))
        return "pass"

    storage.proxy.mood = mood
    with pytest.raises(errors.UploadChanged, match="was changed after it was checked"):
        storage.complete(created)
    assert harmed.is_set()
    assert list(storage.store.list("")) == []
    assert storage.stub.GetVideo(pb.GetVideoRequest(name=created.video.name)).state == PENDING


# What is stored once


def test_completing_at_one_moment(storage: Storage, small: bytes) -> None:
    """Clients that complete one video at one moment all get it, and it is copied once."""
    created = create(storage.stub, small)
    write(created, small)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: storage.complete(created), range(4)))
    assert [video.state for video in done] == [READY] * 4
    assert copies(storage) == 1


def copies(storage: Storage) -> int:
    """Returns how often a video's bytes were written to their place."""
    return sum(
        method == "PUT" and path.partition("?")[0].endswith("/source") for method, path in storage.proxy.requests
    )


def test_two_tenants(tmp_path: Path, moto: Moto, buckets: Minio, small: bytes) -> None:
    """Two tenants who bring the same bytes at one moment both have the video, and its bytes are stored once."""
    storage = Storage(tmp_path / "data", moto, tokens=True)
    try:
        stubs = []
        for tenant in ("ann", "bob"):
            storage.world.database.tenants.create(tenant)
            row, text = tokens.make(tenant, ("read", "submit"))
            storage.world.database.tenants.add_token(row)
            channel = rpc.connect(storage.world.server.address, token=text)
            stubs.append(OrchestratorServiceStub(channel))
        created = [create(stub, small) for stub in stubs]
        assert created[0].upload_uri != created[1].upload_uri
        for one in created:
            write(one, small)
        request = pb.CompleteVideoRequest(name=created[0].video.name)
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda stub: stub.CompleteVideo(request), stubs))
        assert [video.state for video in done] == [READY, READY]
        assert copies(storage) == 1
        assert storage.left() == []
    finally:
        storage.close()


# When something breaks


@pytest.mark.parametrize("which", ["small", "large"])
def test_breaking_off_at_any_step(storage: Storage, encoded: bytes, which: str) -> None:
    """Wherever the storage is lost, calling again makes the video ready, and nothing is uploaded again."""
    broken = 0
    for step in range(20):
        data = padded(encoded, 0 if which == "small" else PART + 1000)
        created = create(storage.stub, data)
        write(created, data)
        seen = [0]

        def mood(method: str, path: str, step: int = step, seen: list[int] = seen) -> str:
            if ".locks" in path or ".probes" in path:
                return "pass"
            seen[0] += method in {"PUT", "POST", "DELETE"}
            return "400" if seen[0] > step else "pass"

        storage.proxy.mood = mood
        try:
            storage.complete(created)
        except errors.StorageUnavailable:
            broken += 1
        storage.proxy.mood = lambda _method, _path: "pass"
        assert storage.complete(created).state == READY
        assert storage.store.get(f"{created.video.name}/source") == data
        if seen[0] <= step:
            break
    assert broken >= 2
    storage.clean(expiry=1000)
    assert storage.left() == []


def test_a_copy_that_was_lost(storage: Storage, small: bytes) -> None:
    """A ready video whose bytes are gone wants them again."""
    created = create(storage.stub, small)
    write(created, small)
    storage.complete(created)
    storage.store.delete(f"{created.video.name}/source")
    again = create(storage.stub, small)
    assert again.upload_uri
    write(again, small)
    assert storage.complete(again).state == READY


# Cleaning up


def test_abandoned_uploads(storage: Storage, small: bytes, large: bytes) -> None:
    """Uploads that nobody finished are removed with what they announced; ones that go on, and videos, are not."""
    kept = padded(small)
    ready = create(storage.stub, kept)
    write(ready, kept)
    storage.complete(ready)
    write(create(storage.stub, small), small)
    parts = create(storage.stub, large)
    put(parts.parts[0].uri, large[:PART])
    # As if a process was killed before the video was ready.
    storage.store.put(f"{parts.video.name}/source", large)
    assert storage.clean(expiry=1000) == 0
    assert len(storage.left()) == 2
    assert storage.clean() == 2
    assert storage.left() == []
    assert [video.name for video in storage.stub.ListVideos(pb.ListVideosRequest()).videos] == [ready.video.name]
    assert {key.rpartition("/")[0] for key in storage.store.list("videos/")} == {ready.video.name}
    assert storage.clean() == 0
    write(create(storage.stub, large), large)
    assert storage.complete(parts).state == READY


def test_an_upload_that_is_being_checked(storage: Storage, small: bytes) -> None:
    """Nothing is removed of an upload while it is being checked."""
    created = create(storage.stub, small)
    write(created, small)
    with storage.world.objects.lock(verifying_key(created.video.name.removeprefix("videos/")), 1):
        assert storage.clean() == 0
    assert storage.complete(created).state == READY


def test_what_nobody_knows_of(storage: Storage) -> None:
    """Objects and open uploads that belong to no announced video are removed; nothing else in the bucket is."""
    storage.store.put("uploads/default/" + "0" * 64, b"late")
    for key in ("uploads/default/" + "1" * 64, "videos/" + "2" * 64 + "/source"):
        storage.store.parts.begin(key)
    other = storage.store.parts.begin("backup/of/somebody")
    storage.store.put("backup/1", b"x")
    assert storage.clean(expiry=1000) == 3
    assert storage.left() == ["backup/1", "backup/of/somebody"]
    storage.store.parts.abort("backup/of/somebody", other)


def test_cleaning_is_a_task(storage: Storage) -> None:
    """Celery's clock sends for the clean-up, and its workers carry it out."""
    app = make_app(storage.world.settings, cleaner=lambda: storage.world.cleaner)
    storage.store.put("uploads/default/" + "0" * 64, b"late")
    assert app.conf.beat_schedule[CLEAN]["task"] == CLEAN
    app.tasks[CLEAN]()
    assert storage.left() == []


def test_a_few_at_a_time(tmp_path: Path, moto: Moto, buckets: Minio, encoded: bytes) -> None:
    """While enough videos are being checked, the next client is told when to come again, and its upload stays."""
    storage = Storage(tmp_path / "data", moto, verification_concurrency=1, verification_queue=0)
    try:
        films = [padded(encoded), padded(encoded)]
        first, second = (create(storage.stub, data) for data in films)
        write(first, films[0])
        write(second, films[1])
        with ThreadPoolExecutor(1) as pool:
            with storage.store.lock(verifying_key(first.video.name.removeprefix("videos/")), 1):
                storage.proxy.requests.clear()
                busy = pool.submit(storage.complete, first)
                deadline = time.monotonic() + 30
                while not any(".locks" in path for _, path in storage.proxy.requests):
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                with pytest.raises(errors.ResourceExhausted, match="call again in 10 s") as caught:
                    storage.complete(second)
                assert caught.value.retry_after == 10
            assert busy.result().state == READY
        assert storage.complete(second).state == READY
    finally:
        storage.close()


# Taking videos from other buckets


def test_registering(storage: Storage, buckets: Minio, small: bytes) -> None:
    """An object of a listed bucket becomes a video without passing through any client; twice changes nothing."""
    key = "2024/a film, 100%2F cut.mp4"
    buckets.put_object(ARCHIVE, key, io.BytesIO(small), len(small))
    request = pb.RegisterVideoRequest(source_uri=f"s3://{ARCHIVE}/{key}")
    video = storage.stub.RegisterVideo(request)
    assert (video.state, video.display_name, video.frame_count) == (READY, "a film, 100%2F cut.mp4", 80)
    assert video.name == f"videos/{hashlib.sha256(small).hexdigest()}"
    assert storage.store.get(f"{video.name}/source") == small
    assert storage.stub.RegisterVideo(request) == video
    assert copies(storage) == 1
    buckets.remove_object(ARCHIVE, key)
    with pytest.raises(errors.NotFound, match=f"s3://{ARCHIVE}/2024/a film"):
        storage.stub.RegisterVideo(request)
    assert create(storage.stub, small).video.state == READY


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://127.0.0.1/film.mp4",
        "https://example.com/film.mp4",
        "file:///etc/passwd",
        "/etc/passwd",
        "s3:/archive-of-films/film.mp4",
        "S3://archive-of-films/film.mp4",
        "s3://archive-of-films",
        "s3://archive-of-films/",
        "s3:///film.mp4",
        "s3://other-bucket/film.mp4",
        f"s3://{BUCKET}/film.mp4",
        "s3://archive-of-films@example.com/film.mp4",
        "s3://archive-of-films:9000/film.mp4",
        "s3://%61rchive-of-films/film.mp4",
        "s3://archive-of-films%2Fx/film.mp4",
        "s3://archive-of-films/../kept/film.mp4",
        "s3://archive-of-films/a/../../kept/film.mp4",
        "s3://archive-of-films/./film.mp4",
        "s3://archive-of-films//film.mp4",
        "s3://archive-of-films/film.mp4/",
        "s3://archive-of-films/..",
        "s3://archive-of-films/a\\..\\film.mp4",
        "s3://archive-of-films/film\n.mp4",
        "s3://../archive-of-films/film.mp4",
        "s3://archive-of-films/" + "a" * 1025,
    ],
)
def test_nothing_else_is_fetched(storage: Storage, uri: str) -> None:
    """Whatever is not plainly an object of a listed bucket is refused, and no request is made for it."""
    before = len(storage.proxy.requests)
    with pytest.raises(errors.InvalidArgument, match="source_uri"):
        storage.stub.RegisterVideo(pb.RegisterVideoRequest(source_uri=uri))
    assert len(storage.proxy.requests) == before


@pytest.mark.parametrize("key", ["..%2Fkept%2Ffilm.mp4", "%2e%2e/kept/film.mp4", "film.mp4?versionId=1", "a#b"])
def test_keys_are_taken_literally(storage: Storage, key: str) -> None:
    """What would mean something else once it was decoded is a key like any other, and there is no such object."""
    with pytest.raises(errors.NotFound, match="nothing stored"):
        storage.stub.RegisterVideo(pb.RegisterVideoRequest(source_uri=f"s3://{ARCHIVE}/{key}"))
    assert all(path.startswith((f"/{ARCHIVE}/", f"/{BUCKET}/")) for _, path in storage.proxy.requests)
    assert not any("/../" in path or path.startswith(f"/{BUCKET}/film") for _, path in storage.proxy.requests)


def test_registering_what_is_no_video(storage: Storage, buckets: Minio) -> None:
    """An object that is no video is named, nothing is kept, and no video is announced."""
    for key, data in (("notes.txt", b"not a video" * 100), ("empty.mp4", b"")):
        buckets.put_object(ARCHIVE, key, io.BytesIO(data), len(data))
        with pytest.raises(errors.InvalidArgument):
            storage.stub.RegisterVideo(pb.RegisterVideoRequest(source_uri=f"s3://{ARCHIVE}/{key}"))
    assert list(storage.store.list("")) == []
    assert not storage.stub.ListVideos(pb.ListVideosRequest()).videos


def test_registering_on_a_directory(tmp_path: Path) -> None:
    """A server that keeps its data in a directory has no buckets, and says so."""
    world = World(tmp_path / "data", work=False, import_buckets=(ARCHIVE,))
    try:
        with pytest.raises(errors.FailedPrecondition, match="no buckets"):
            world.stub.RegisterVideo(pb.RegisterVideoRequest(source_uri=f"s3://{ARCHIVE}/film.mp4"))
    finally:
        world.close()
