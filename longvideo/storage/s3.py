"""An object store in a bucket of any server that speaks S3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from minio.error import MinioException

from longvideo.errors import BadSettings, NotFound, VideoChanged
from longvideo.storage.objects import ObjectStat, check_key
from longvideo.storage.s3_bucket import Bucket
from longvideo.storage.s3_lease import Lease
from longvideo.storage.s3_requests import Traffic, explained, status_of
from longvideo.storage.s3_source import S3Source

# How long a client may take to begin an upload that it was given a URI for.
_UPLOAD: Final = timedelta(hours=6)
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
        lease_seconds: float = 30.0,
    ) -> None:
        """Makes a store; nothing is asked of the server yet.

        Args:
            bucket: The bucket, which must exist.
            prefix: What all keys start with in the bucket, without a slash at its end.
            endpoint: The server, `http://host:port` or `https://…`.
            region: The region, which is part of every signature.
            keys: The access key, the secret key and the session token; requests are not signed without.
            lease_seconds: How long a lock outlives a holder that died.
        """
        self._bucket = Bucket(bucket, endpoint, region, keys)
        self._prefix = f"{prefix}/" if prefix else ""
        self._lease_seconds = lease_seconds

    @classmethod
    def at(cls, url: str, keys: tuple[str, str, str]) -> S3Store:
        """Returns the store that `s3://bucket/prefix?endpoint=…&region=…` names. Raises BadSettings."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        endpoint, region = options.pop("endpoint", _AWS), options.pop("region", _REGION)
        server, prefix = urlsplit(endpoint), parts.path.strip("/")
        is_server = server.scheme in {"http", "https"} and server.netloc and not server.path.strip("/")
        if parts.scheme != "s3" or not parts.netloc or options or not is_server:
            raise BadSettings(
                f"object_store is {url}; it must be s3://bucket/prefix?endpoint=https://host:port&region=name",
                setting="object_store",
            )
        if prefix:
            check_key(prefix)
        return cls(parts.netloc, prefix, endpoint=endpoint, region=region, keys=keys)

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
            try:
                found = self._bucket.client.stat_object(self._bucket.name, name)
            except MinioException as error:
                # Without a body, an answer does not say whether the object or the bucket is missing.
                if status_of(error) == 404:
                    return None
                raise
        size, etag = int(found.size or 0), (found.etag or "").strip('"')
        return ObjectStat(size, f"{size}-{etag}")

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
        found = self.stat(key)
        if found is None:
            raise NotFound(f"there is nothing stored under {key}", key=key)
        etag = found.version.partition("-")[2]
        return S3Source(key, found.size, found.version, lambda offset, length: self._range(key, etag, offset, length))

    def _range(self, key: str, etag: str, offset: int, length: int) -> bytes:
        changed = VideoChanged(f"{key} was changed while it was read; add the video again", key=key)
        with explained(self._bucket.where, key):
            try:
                read = self._bucket.read(self._name(key), offset, length, {"If-Match": f'"{etag}"'})
            except MinioException as error:
                # Changed, gone, and shorter than the range begins.
                if status_of(error) in {412, 404, 416}:
                    raise changed from error
                raise
        # Not every server honours the condition.
        if read.etag != etag:
            raise changed
        return read.data

    def add_file(self, key: str, path: Path) -> None:
        """Uploads a local file, in parts when it is large. Raises NotFound without one."""
        name = self._name(key)
        if not path.is_file():
            raise NotFound(f"there is no file {path}", path=str(path))
        with explained(self._bucket.where, key):
            self._bucket.client.fput_object(self._bucket.name, name, str(path))

    def upload_uri(self, key: str) -> str:
        """Returns a URI that whoever has it may PUT the object's bytes to, for six hours."""
        return self._bucket.client.presigned_put_object(self._bucket.name, self._name(key), _UPLOAD)

    def lock(self, key: str, timeout: float) -> AbstractContextManager[None]:
        """Holds a lock: an object that its holder renews, and that others take over when it has not for a while."""
        name = f"{self._prefix}.locks/{hashlib.sha256(check_key(key).encode()).hexdigest()}"
        with explained(self._bucket.where, key):
            conditional = self._bucket.honours_conditions(self._prefix)
        return Lease(self._bucket, name, key, self._lease_seconds, conditional).held(timeout)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)
