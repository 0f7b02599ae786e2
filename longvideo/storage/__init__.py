"""Object storage: videos, their indexes, subtitles and captions, by key.

`ObjectStore` is the seam; `DirectoryStore` keeps the objects as files, `S3Store` in a bucket. Every store passes the
conformance suite in `tests/contract/object_store.py`. What the rest of longvideo relies on, and a store must therefore
do:

- a reader sees a whole object or none, whoever writes at the same time;
- `put_if_absent` has one winner;
- `lock` excludes threads and processes alike, and never outlives its holder.
"""

from pathlib import Path

from longvideo.storage.directory import DirectoryStore, storage_error
from longvideo.storage.objects import (
    UPLOADS,
    Imports,
    ObjectStat,
    ObjectStore,
    OpenUpload,
    PartUploads,
    StoredPart,
    caption_key,
    caption_prefix,
    check_key,
    index_key,
    source_key,
    subtitles_key,
    upload_key,
    verifying_key,
)

__all__ = [
    "DirectoryStore",
    "Imports",
    "ObjectStat",
    "ObjectStore",
    "OpenUpload",
    "PartUploads",
    "StoredPart",
    "UPLOADS",
    "caption_key",
    "caption_prefix",
    "check_key",
    "index_key",
    "open_store",
    "source_key",
    "storage_error",
    "subtitles_key",
    "upload_key",
    "verifying_key",
]


def open_store(data_dir: Path, url: str = "", keys: tuple[str, str, str] = ("", "", "")) -> ObjectStore:
    """Returns the store that `url` names, `s3://bucket/prefix?endpoint=…&region=…`, or that of a data directory.

    The database and whatever else is kept lie beside the directory's objects. `keys` are the access key, the secret key
    and the session token. Raises BadSettings for another URL.
    """
    if not url:
        return DirectoryStore(data_dir / "objects")
    # The SDK takes a third of a second to import, which a command on one machine need not spend.
    from longvideo.storage.s3 import S3Store  # noqa: PLC0415

    return S3Store.at(url, keys)
