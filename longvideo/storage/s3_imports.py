"""Objects of other buckets on the same S3 server, and copies that the server itself makes."""

from __future__ import annotations

from typing import Final

from minio.commonconfig import ComposeSource, CopySource
from minio.error import MinioException

from longvideo.errors import NotFound, UploadChanged, VideoChanged
from longvideo.storage.objects import check_key
from longvideo.storage.s3_bucket import Bucket
from longvideo.storage.s3_requests import explained, status_of
from longvideo.storage.s3_source import S3Source

# A server may say nothing while it copies: so much at a time, no request takes longer than we wait for an answer.
# (One request may copy 5 GiB at most.)
COPY_BYTES: Final = 1 << 30


def open_object(bucket: Bucket, name: str, shown: str) -> S3Source:
    """Opens an object for reading byte ranges of the bytes that it has now. `shown` is what messages call it.

    Raises NotFound.
    """
    with explained(bucket.where, shown):
        found = bucket.stat(name)
    if found is None:
        raise NotFound(f"there is nothing stored under {shown}", key=shown)
    etag = found.version.partition("-")[2]

    def fetch(offset: int, length: int) -> bytes:
        changed = VideoChanged(f"{shown} was changed while it was read; add the video again", key=shown)
        with explained(bucket.where, shown):
            try:
                read = bucket.read(name, offset, length, {"If-Match": f'"{etag}"'})
            except MinioException as error:
                # Changed, gone, and shorter than the range begins.
                if status_of(error) in {412, 404, 416}:
                    raise changed from error
                raise
        # Not every server honours the condition.
        if read.etag != etag:
            raise changed
        return read.data

    return S3Source(shown, found.size, found.version, fetch)


def copy_object(source: Bucket, name: str, version: str, target: tuple[Bucket, str], shown: str) -> None:
    """Makes the server copy one version of an object to a bucket and a name. Raises NotFound and UploadChanged.

    Where the server ignores conditions on copying, the version is looked at before and after.
    """
    changed = UploadChanged(f"{shown} was changed after it was checked; upload it again", key=shown)
    size, _, etag = version.partition("-")
    bucket, copied = target
    with explained(source.where, shown):
        _check(source, name, version, shown, changed)
        try:
            if int(size) <= COPY_BYTES:
                bucket.client.copy_object(bucket.name, copied, CopySource(source.name, name, match_etag=etag))
            else:
                pieces = [
                    ComposeSource(source.name, name, offset=at, length=min(COPY_BYTES, int(size) - at), match_etag=etag)
                    for at in range(0, int(size), COPY_BYTES)
                ]
                bucket.client.compose_object(bucket.name, copied, pieces)
        except MinioException as error:
            if status_of(error) == 412:
                raise changed from error
            raise
        try:
            _check(source, name, version, shown, changed)
        except (NotFound, UploadChanged):
            bucket.client.remove_object(bucket.name, copied)
            raise changed from None


def _check(source: Bucket, name: str, version: str, shown: str, changed: UploadChanged) -> None:
    found = source.stat(name)
    if found is None:
        raise NotFound(f"there is nothing stored under {shown}", key=shown)
    if found.version != version:
        raise changed


class S3Imports:
    """Other buckets, seen with the keys of the store's own."""

    def __init__(self, own: Bucket, prefix: str) -> None:
        """Asks nothing of the server. `prefix` is that of the store, to which copies go."""
        self._own = own
        self._prefix = prefix

    def open(self, bucket: str, name: str) -> S3Source:
        """Opens an object of another bucket for reading. Raises NotFound."""
        return open_object(self._own.beside(bucket), name, f"s3://{bucket}/{name}")

    def copy(self, bucket: str, name: str, version: str, target: str) -> None:
        """Makes the server copy an object of another bucket to a key. Raises NotFound and UploadChanged."""
        copied = self._prefix + check_key(target)
        copy_object(self._own.beside(bucket), name, version, (self._own, copied), f"s3://{bucket}/{name}")
