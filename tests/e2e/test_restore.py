"""Back-up and restore by the commands of docs/operations.md: everything is destroyed, and goes on elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from minio import Minio

from longvideo.errors import NotFound
from longvideo.v1 import orchestrator_pb2 as pb
from tests.e2e.cluster import Cluster, Models, eventually
from tests.media import make_video
from tests.parts import KEYS, Moto, Postgres, Redis
from tests.parts.s3 import RCLONE, REGION

BUCKET = "longvideo"


class Site:
    """Servers of their own, with an empty database and an empty bucket, and the processes on them."""

    def __init__(self, directory: Path, models: Models) -> None:
        self.postgres, self.redis, self.moto = Postgres(), Redis(), Moto()
        self.directory, self.models = directory, models
        self.cluster: Cluster

    def __enter__(self) -> Site:
        self.directory.mkdir()
        for server in (self.postgres, self.redis, self.moto):
            server.start()
        self.moto.make_bucket(BUCKET)
        self.database = self.postgres.url(self.postgres.create())
        self.cluster = Cluster(
            self.directory,
            self.models,
            database_url=self.database,
            broker_url=self.redis.url,
            object_store=self.moto.object_store(BUCKET, "prod"),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.close()
        for server in (self.postgres, self.redis, self.moto):
            server.close()

    def start(self) -> None:
        """Brings the tables up to date, and starts the processes, with one worker."""
        migrate = [sys.executable, "-m", "client", "admin", "migrate"]
        subprocess.run(migrate, env=self.cluster.environment, check=True)
        self.cluster.start()
        self.cluster.workers("worker")

    def pg(self, program: str, *options: str) -> None:
        """Runs a program of PostgreSQL's on the database."""
        url = self.database.replace("postgresql+psycopg:", "postgresql:")
        subprocess.run([self.postgres.program(program), *options, url], check=True, capture_output=True)

    def rclone(self, source: str, target: str) -> None:
        """Copies objects; `s3:` is the bucket's server."""
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENDPOINT": self.moto.endpoint,
            "REGION": REGION,
            "ACCESS_KEY_ID": KEYS[0],
            "SECRET_ACCESS_KEY": KEYS[1],
        }
        environment = os.environ | {f"RCLONE_CONFIG_S3_{name}": value for name, value in settings.items()}
        command = [RCLONE, "--config", "", "copy", source, target]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    def captions(self) -> list[str]:
        """Returns the keys of all captions."""
        client = Minio(self.moto.address, *KEYS[:2], secure=False, region=REGION)
        found = client.list_objects(BUCKET, "prod/captions/", recursive=True)
        return [str(each.object_name) for each in found]


def test_everything_is_destroyed(tmp_path: Path) -> None:
    """What a back-up that is made while questions run holds goes on elsewhere: jobs, videos, and episodes half done."""
    models, backup, dump = Models(), tmp_path / "backup", str(tmp_path / "longvideo.dump")
    gate = models.hold("Does it go on?", 1)
    film = make_video(tmp_path / "film.mp4", seconds=8, fps=10)
    late = make_video(tmp_path / "late.mp4", seconds=9, fps=10)
    with Site(tmp_path / "first", models) as first:
        first.start()
        cluster = first.cluster
        video = cluster.add(film)
        kept = cluster.finish(cluster.submit(video, "Is it kept?"))
        running = cluster.submit(video, "Does it go on?", "Does this, too?")
        eventually(lambda: len(models.asked("Does it go on?")) == 2, "round 1")
        first.pg("pg_dump", "--format=custom", f"--file={dump}")
        forgotten = cluster.submit(cluster.add(late), "Is it forgotten?")
        first.rclone(f"s3:{BUCKET}/prod", str(backup))
        assert first.captions()
    gate.set()
    shutil.rmtree(tmp_path / "first")
    shutil.rmtree(backup / "captions")

    with Site(tmp_path / "second", models) as second:
        second.rclone(str(backup), f"s3:{BUCKET}/prod")
        second.pg("pg_restore", dump, "--no-owner", "--dbname")
        second.start()
        cluster = second.cluster
        assert cluster.get(kept) == kept
        ended = cluster.finish(running)
        assert ended.state == pb.Job.STATE_SUCCEEDED
        assert [episode.answer for episode in ended.episodes] == ["It is 42."] * 2
        assert [number for number, _ in models.asked("Does it go on?")] == [0, 1, 1, 2]
        with pytest.raises(NotFound):
            cluster.get(forgotten)
        new = cluster.finish(cluster.submit(cluster.add(late), "Does a new one work?"))
        assert new.episodes[0].answer == "It is 42."
        again = cluster.finish(cluster.submit(video, "Is it seen again?"))
        assert again.episodes[0].answer == "It is 42."
        assert {key.split("/")[2] for key in second.captions()} == {each.video.split("/")[1] for each in (new, again)}
    models.server.close()
