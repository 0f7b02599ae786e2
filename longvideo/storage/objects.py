"""What an object store is, and the keys of everything that is stored.

videos/{sha256}/source                                 the bytes of a video
videos/{sha256}/index                                  its packet index
videos/{sha256}/subtitles/{id}                         its subtitles
captions/{sha256}/{width}/{digest}/{h}[-{m}[-{l}]]     one caption
uploads/{tenant}/{sha256}                              what a client writes, until it was checked
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from longvideo.errors import InvalidArgument
from longvideo.segments import Segment
from longvideo.video.source import ByteSource

# What S3 accepts, less the room a prefix may need.
MAX_KEY_CHARS = 900
MAX_NAME_CHARS = 200
UPLOADS = "uploads/"
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class ObjectStat(NamedTuple):
    """The size of an object in bytes, and a text that changes when its bytes change."""

    size: int
    version: str


class StoredPart(NamedTuple):
    """The size of a part that was written, in bytes, and a text that changes when its bytes change."""

    size: int
    version: str


class OpenUpload(NamedTuple):
    """An upload in parts that was begun, and neither completed nor given up."""

    key: str
    upload: str


class PartUploads(Protocol):
    """Uploads of large objects in parts: clients write these in any order, several at once, each as often as it takes.

    Every method raises InvalidArgument, StorageFull and StorageUnavailable as those of `ObjectStore` do.
    """

    def begin(self, key: str) -> str:
        """Begins an upload and returns its id. The object is there only once the upload is completed."""
        ...

    def uri(self, key: str, upload: str, number: int, seconds: float) -> str:
        """Returns where a client may write part `number`, from 1, for so many seconds; it can do nothing else there."""
        ...

    def written(self, key: str, upload: str) -> dict[int, StoredPart]:
        """Returns the parts that are there, by number. Raises NotFound when there is no such upload."""
        ...

    def complete(self, key: str, upload: str, versions: Mapping[int, str]) -> None:
        """Makes the parts of these versions, in the order of their numbers, the object; those not named are dropped.

        Raises NotFound when there is no such upload, and UploadChanged when a part has another version.
        """
        ...

    def abort(self, key: str, upload: str) -> None:
        """Gives an upload up, with its parts. Does nothing when there is no such upload."""
        ...

    def unfinished(self, prefix: str) -> Iterator[OpenUpload]:
        """Yields the uploads that are open, to keys that start with `prefix`."""
        ...


class Imports(Protocol):
    """Other buckets on the same storage, from which objects are taken without a download and an upload."""

    def open(self, bucket: str, name: str) -> ByteSource:
        """Opens an object of another bucket for reading. Raises NotFound, StorageUnavailable."""
        ...

    def copy(self, bucket: str, name: str, version: str, target: str) -> None:
        """Copies an object of another bucket to a key, as `ObjectStore.copy` does."""
        ...


class ObjectStore(Protocol):
    """A place for objects of bytes, by key.

    A key is names of letters, digits, `.`, `_` and `-`, joined by `/`; a name does not start with a dot. Every method
    raises InvalidArgument for another key, StorageFull when there is no space left, and StorageUnavailable when the
    storage cannot be read or written.
    """

    def get(self, key: str) -> bytes:
        """Returns an object's bytes. Raises NotFound."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, replacing any. A reader sees the old bytes or the new, never a part."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes an object unless there is one. Returns whether it wrote: of many at once, exactly one does."""
        ...

    def stat(self, key: str) -> ObjectStat | None:
        """Returns an object's size and version, or None when there is none."""
        ...

    def delete(self, key: str) -> None:
        """Deletes an object. Does nothing when there is none."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yields the keys that start with `prefix`, in the order of their characters. The empty prefix means all."""
        ...

    def open(self, key: str) -> ByteSource:
        """Opens an object for reading byte ranges. Raises NotFound."""
        ...

    def add_file(self, key: str, path: Path) -> None:
        """Makes a local file an object, replacing any, as cheaply as the store can. Raises NotFound without one."""
        ...

    def copy(self, source: str, version: str, target: str) -> None:
        """Makes the bytes of one object those of another too, replacing any, without reading them.

        Raises NotFound when there is no object `source`, and UploadChanged when it has another version than this.
        """
        ...

    def upload_uri(self, key: str, seconds: float) -> str:
        """Returns where a client may write the object's bytes itself; for so many seconds, where it can expire."""
        ...

    @property
    def parts(self) -> PartUploads | None:
        """Uploads in parts; None when clients write objects of any size to their `upload_uri`."""
        ...

    @property
    def imports(self) -> Imports | None:
        """Other buckets; None when there are none."""
        ...

    def lock(self, key: str, timeout: float) -> AbstractContextManager[None]:
        """Returns a context that one thread of one process holds at a time, whether or not there is such an object.

        It is released when the holder dies. Waits at most `timeout` seconds, then raises DeadlineExceeded.
        """
        ...

    def drop_dead_locks(self) -> int:
        """Removes what is left of locks whose holders died, and returns their number. Locks that are held stay."""
        ...


def check_key(key: str) -> str:
    """Returns `key`. Raises InvalidArgument when it is not a key."""
    if len(key) > MAX_KEY_CHARS or not _KEY.fullmatch(key) or max(map(len, key.split("/"))) > MAX_NAME_CHARS:
        raise InvalidArgument(
            f"the storage key {key[:100]!r} is not valid; it must be names of letters, digits, '.', '_' and '-', "
            "joined by '/', none starting with '.'",
            field="key",
        )
    return key


def source_key(video_id: str) -> str:
    """Returns the key of a video's bytes."""
    return f"videos/{video_id}/source"


def upload_key(tenant: str, video_id: str) -> str:
    """Returns the key that a tenant's client writes a video's bytes to."""
    return f"{UPLOADS}{tenant}/{video_id}"


def verifying_key(video_id: str) -> str:
    """Returns the key whose lock is held by whoever checks a video's bytes, and puts them where they are kept."""
    return f"videos/{video_id}/complete"


def index_key(video_id: str) -> str:
    """Returns the key of a video's packet index."""
    return f"videos/{video_id}/index"


def subtitles_key(video_id: str, subtitles_id: str) -> str:
    """Returns the key of a video's subtitles."""
    return f"videos/{video_id}/subtitles/{subtitles_id}"


def caption_prefix(video_id: str, width: int, digest: str) -> str:
    """Returns what the keys of all captions made in one way start with."""
    return f"captions/{video_id}/{width}/{digest}/"


def caption_key(video_id: str, width: int, digest: str, segment: Segment) -> str:
    """Returns the key of one caption."""
    return caption_prefix(video_id, width, digest) + "-".join(map(str, segment.path))
