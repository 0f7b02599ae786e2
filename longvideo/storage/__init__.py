"""Object storage: videos, their indexes, subtitles and captions, by key.

`ObjectStore` is the seam; `DirectoryStore` keeps the objects as files. Every store passes the conformance suite in
`tests/contract/object_store.py`. What the rest of longvideo relies on, and a store must therefore do:

- a reader sees a whole object or none, whoever writes at the same time;
- `put_if_absent` has one winner;
- `lock` excludes threads and processes alike, and never outlives its holder.
"""

from pathlib import Path

from longvideo.storage.directory import DirectoryStore, storage_error
from longvideo.storage.objects import (
    ObjectStat,
    ObjectStore,
    caption_key,
    caption_prefix,
    check_key,
    index_key,
    source_key,
    subtitles_key,
)

__all__ = [
    "DirectoryStore",
    "ObjectStat",
    "ObjectStore",
    "caption_key",
    "caption_prefix",
    "check_key",
    "index_key",
    "open_store",
    "source_key",
    "storage_error",
    "subtitles_key",
]


def open_store(data_dir: Path) -> ObjectStore:
    """Returns the store of a data directory; the database and whatever else is kept lie beside it."""
    return DirectoryStore(data_dir / "objects")
