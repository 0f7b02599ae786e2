"""An object store in a bucket of any server that speaks S3."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from longvideo.errors import BadSettings, DeadlineExceeded, NotFound
from longvideo.storage.objects import ObjectStat, check_key
from longvideo.storage.s3_bucket import Bucket
from longvideo.storage.s3_imports import S3Imports, copy_object, open_object
from longvideo.storage.s3_lease import Lease
from longvideo.storage.s3_parts import S3Parts
from longvideo.storage.s3_requests import Traffic, explained
from longvideo.storage.s3_source import S3Source

_AWS: Final = "https://s3.amazonaws.com"
_REGION: Final = "us-east-1"


class S3Store:
    """Objects in a bucket, below a prefix. Processes and threads may share it.

    `put_if_absent` and `lock` need a server that honours `If-None-Match` and `If-Match` when writing: AWS, MinIO and
    Ceph do. Where a server ignores them, which is found out at first use, both do what can be done with reading and
    writing alone: they hold as long as a writer who saw nothing has written a quarter of a second later.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str = _AWS,
        region: str = _REGION,
        keys: tuple[str, str, str] = ("", "", ""),
        public_endpoint: str = "",
        lease_seconds: float = 30.0,
    ) -> None:
        """Makes a store; nothing is asked of the server yet.

        Args:
            bucket: The bucket, which must exist.
            prefix: What all keys start with in the bucket, without a slash at its end.
            endpoint: The server, `http://host:port` or `https://…`.
            region: The region, which is part of every signature.
            keys: The access key, the secret key and the session token; requests are not signed without.
            public_endpoint: The server as clients reach it, where that is not `endpoint`.
            lease_seconds: How long a lock outlives a holder that died.
        """
        self._bucket = Bucket(bucket, endpoint, region, keys, public_endpoint)
        self._prefix = f"{prefix}/" if prefix else ""
        self._lease_seconds = lease_seconds

    @classmethod
    def at(cls, url: str, keys: tuple[str, str, str]) -> S3Store:
        """Returns the store that a URL names, as `settings.object_store` says. Raises BadSettings."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        endpoint, region = options.pop("endpoint", _AWS), options.pop("region", _REGION)
        public = options.pop("public_endpoint", endpoint)
        prefix = parts.path.strip("/")
        if parts.scheme != "s3" or not parts.netloc or options or not (_is_server(endpoint) and _is_server(public)):
            raise BadSettings(
                f"object_store is {url}; it must be s3://bucket/prefix?endpoint=https://host:port&region=name, and may "
                "have a public_endpoint",
                setting="object_store",
            )
        if prefix:
            check_key(prefix)
        return cls(parts.netloc, prefix, endpoint=endpoint, region=region, keys=keys, public_endpoint=public)

    @property
    def traffic(self) -> Traffic:
        """What was read so far."""
        return self._bucket.traffic

    def get(self, key: str) -> bytes:
        """Returns an object's bytes. Raises NotFound."""
        name = self._name(key)
        with explained(self._bucket.where, key):
            return self._bucket.read(name).data

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, replacing any."""
        name = self._name(key)
        with explained(self._bucket.where, key):
            self._bucket.put(name, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes an object unless there is one. Returns whether it wrote."""
        name = self._name(key)
        with explained(self._bucket.where, key):
            if self._bucket.honours_conditions(self._prefix):
                return self._bucket.put_if(name, data, None)
        with self.lock(f"{key}.absent", timeout=60):
            if self.stat(key) is not None:
                return False
            self.put(key, data)
            return True

    def stat(self, key: str) -> ObjectStat | None:
        """Returns an object's size and version, or None when there is none."""
        name = self._name(key)
        with explained(self._bucket.where, key):
            return self._bucket.stat(name)

    def delete(self, key: str) -> None:
        """Deletes an object. Does nothing when there is none."""
        name = self._name(key)
        with explained(self._bucket.where, key):
            self._bucket.client.remove_object(self._bucket.name, name)

    def list(self, prefix: str) -> Iterator[str]:
        """Yields the keys that start with `prefix`, sorted."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        with explained(self._bucket.where, prefix):
            found = self._bucket.client.list_objects(self._bucket.name, prefix=self._prefix + prefix, recursive=True)
            names = [(entry.object_name or "").removeprefix(self._prefix) for entry in found]
        # Locks lie beside the objects, under a name that no key can have.
        yield from sorted(name for name in names if not name.startswith("."))

    def open(self, key: str) -> S3Source:
        """Opens an object for reading byte ranges. Raises NotFound."""
        return open_object(self._bucket, self._name(key), key)

    def copy(self, source: str, version: str, target: str) -> None:
        """Makes the server copy one version of an object. Raises NotFound and UploadChanged."""
        copy_object(self._bucket, self._name(source), version, (self._bucket, self._name(target)), source)

    def add_file(self, key: str, path: Path) -> None:
        """Uploads a local file, in parts when it is large. Raises NotFound without one."""
        name = self._name(key)
        if not path.is_file():
            raise NotFound(f"there is no file {path}", path=str(path))
        with explained(self._bucket.where, key):
            self._bucket.client.fput_object(self._bucket.name, name, str(path))

    def upload_uri(self, key: str, seconds: float) -> str:
        """Returns a URL that whoever has it may PUT the object's bytes to, for so many seconds."""
        return self._bucket.url_for_clients("PUT", self._name(key), timedelta(seconds=seconds))

    @property
    def parts(self) -> S3Parts:
        """Uploads in parts."""
        return S3Parts(self._bucket, self._prefix)

    @property
    def imports(self) -> S3Imports:
        """The server's other buckets."""
        return S3Imports(self._bucket, self._prefix)

    def lock(self, key: str, timeout: float) -> AbstractContextManager[None]:
        """Holds a lock: an object that its holder renews, and that others take over when it has not for a while."""
        return self._lease(f"{self._locks}{hashlib.sha256(check_key(key).encode()).hexdigest()}", key).held(timeout)

    def drop_dead_locks(self) -> int:
        """Removes the locks that have run out, by taking each over and releasing it; returns their number."""
        with explained(self._bucket.where, "locks"):
            found = list(self._bucket.client.list_objects(self._bucket.name, prefix=self._locks))
        count = 0
        for entry in found:
            with contextlib.suppress(DeadlineExceeded), self._lease(entry.object_name or "", "a lock").held(0):
                count += 1
        return count

    def _lease(self, name: str, key: str) -> Lease:
        with explained(self._bucket.where, key):
            conditional = self._bucket.honours_conditions(self._prefix)
        return Lease(self._bucket, name, key, self._lease_seconds, conditional)

    @property
    def _locks(self) -> str:
        """What the names of locks start with, which no key can."""
        return f"{self._prefix}.locks/"

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)


def _is_server(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and not parts.path.strip("/")
