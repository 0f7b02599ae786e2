"""What an object store is, and the keys of everything that is stored.

videos/{sha256}/source                                 the bytes of a video
videos/{sha256}/index                                  its packet index
videos/{sha256}/subtitles/{id}                         its subtitles
captions/{sha256}/{width}/{digest}/{h}[-{m}[-{l}]]     one caption
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from longvideo.errors import InvalidArgument
from longvideo.segments import Segment
from longvideo.video.source import ByteSource

# What S3 accepts, less the room a prefix may need.
MAX_KEY_CHARS = 900
MAX_NAME_CHARS = 200
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class ObjectStat(NamedTuple):
    """The size of an object in bytes, and a text that changes when its bytes change."""

    size: int
    version: str


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

    def upload_uri(self, key: str) -> str:
        """Returns where a client may write the object's bytes itself."""
        ...

    def lock(self, key: str, timeout: float) -> AbstractContextManager[None]:
        """Returns a context that one thread of one process holds at a time, whether or not there is such an object.

        It is released when the holder dies. Waits at most `timeout` seconds, then raises DeadlineExceeded.
        """
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
