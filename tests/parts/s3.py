"""S3 servers.

Moto honours conditions on writing and keeps objects in memory. Rclone ignores conditions and keeps objects as files.
MinIO is used where its binary is on the PATH.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from minio import Minio as Client

from tests.parts.server import Server

KEYS = ("testing", "testing-secret", "")
REGION = "us-east-1"

RCLONE = shutil.which("rclone", path=sysconfig.get_path("scripts")) or "rclone"
"""The program that a package has brought; nobody need have activated its environment."""


class S3Server(Server):
    """A server whose keys are KEYS."""

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://{self.address}"

    def make_bucket(self, name: str) -> str:
        """Makes a bucket and returns its name."""
        Client(self.address, *KEYS[:2], secure=False, region=REGION).make_bucket(name)
        return name

    def object_store(self, bucket: str, prefix: str = "", endpoint: str = "") -> str:
        """Returns the setting `object_store` for a part of a bucket, perhaps through a proxy at `endpoint`."""
        return f"s3://{bucket}/{prefix}?endpoint={quote(endpoint or self.endpoint, safe=':/')}&region={REGION}"


class Moto(S3Server):
    """Moto's server."""

    def command(self) -> list[str]:
        """Returns what is run."""
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]


class Rclone(S3Server):
    """`rclone serve s3` over a directory whose subdirectories are the buckets."""

    def command(self) -> list[str]:
        """Returns what is run."""
        buckets = self.directory / "buckets"
        buckets.mkdir(exist_ok=True)
        options = {"addr": self.address, "auth-key": ",".join(KEYS[:2]), "config": "", "vfs-cache-mode": "off"}
        return [
            RCLONE,
            "serve",
            "s3",
            str(buckets),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    def make_bucket(self, name: str) -> str:
        """Makes a bucket and returns its name."""
        (self.directory / "buckets" / name).mkdir()
        return name


class Minio(S3Server):
    """MinIO's server."""

    def command(self) -> list[str]:
        """Returns what is run."""
        return ["minio", "server", str(self.directory / "data"), "--address", self.address, "--quiet"]

    def options(self) -> dict[str, Any]:
        """Returns what `Popen` is told about the process."""
        return {"env": {**os.environ, "MINIO_ROOT_USER": KEYS[0], "MINIO_ROOT_PASSWORD": KEYS[1]}}


class Bucket(NamedTuple):
    """A bucket of any server."""

    endpoint: str
    name: str
    keys: tuple[str, str, str]


def given_bucket() -> Bucket | None:
    """Returns the bucket that LONGVIDEO_TEST_S3_URL names, `http://KEY:SECRET@host:9000/bucket`, if it is set."""
    url = urlsplit(os.environ.get("LONGVIDEO_TEST_S3_URL", ""))
    if not url.hostname:
        return None
    where = url.netloc.rpartition("@")[2]
    keys = (unquote(url.username or ""), unquote(url.password or ""), "")
    return Bucket(f"{url.scheme}://{where}", url.path.strip("/"), keys)


def has_minio() -> bool:
    """Tells whether there is a bucket to use, or a `minio` on the PATH to make one."""
    return given_bucket() is not None or shutil.which("minio") is not None
