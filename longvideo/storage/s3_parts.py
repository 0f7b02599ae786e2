"""Uploads in parts to an S3 server. The SDK has no public calls for them, so that the requests are presigned ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, TypeVar
from xml.etree.ElementTree import Element

from minio import xml
from minio.error import MinioException, S3Error

from longvideo.errors import InvalidArgument, UploadChanged
from longvideo.storage.objects import OpenUpload, StoredPart, check_key
from longvideo.storage.s3_bucket import Bucket
from longvideo.storage.s3_requests import Transient, explained, patiently, status_of

# What S3 allows.
MAX_PARTS: Final = 10_000
_Answer = TypeVar("_Answer", "_Begun", "_Parts", "_Open")
_CHANGED: Final = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall"}


class S3Parts:
    """Uploads in parts to objects of a bucket, below a prefix. Threads and processes may share them."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        """Makes nothing on the server. `prefix` is empty or ends with a slash."""
        self._bucket = bucket
        self._prefix = prefix

    def begin(self, key: str) -> str:
        """Begins an upload and returns its id."""
        name = self._name(key)
        with explained(self._bucket.where, key):
            return self._read("POST", name, {"uploads": ""}, _Begun).upload

    def uri(self, key: str, upload: str, number: int, seconds: float) -> str:
        """Returns a URL that takes one part by PUT."""
        if not 1 <= number <= MAX_PARTS:
            raise InvalidArgument(f"the part number is {number}; give 1 to {MAX_PARTS:,}", field="number")
        query = {"partNumber": str(number), "uploadId": upload}
        return self._bucket.url_for_clients("PUT", self._name(key), timedelta(seconds=seconds), query)

    def written(self, key: str, upload: str) -> dict[int, StoredPart]:
        """Returns the parts that are there, by number. Raises NotFound."""
        name, marker, found = self._name(key), "0", dict[int, StoredPart]()
        with explained(self._bucket.where, key):
            while marker:
                query = {"uploadId": upload, "part-number-marker": marker}
                page = self._read("GET", name, query, _Parts)
                found |= page.parts
                marker = page.following
        return found

    def complete(self, key: str, upload: str, versions: Mapping[int, str]) -> None:
        """Makes the parts the object. Raises NotFound and UploadChanged."""
        name, document = self._name(key), xml.Element("CompleteMultipartUpload")
        for number, version in sorted(versions.items()):
            part = xml.SubElement(document, "Part")
            xml.SubElement(part, "PartNumber", str(number))
            xml.SubElement(part, "ETag", f'"{version}"')
        body = xml.getbytes(document)

        def attempt(again: bool) -> None:
            # The try before may have done it, and only its answer was lost.
            if again and not self._is_open(name, upload) and self._bucket.stat(name) is not None:
                return
            answer = self._bucket.ask("POST", name, {"uploadId": upload}, body)
            # A server may find out that it failed after it has begun to answer.
            if b"<Error" in answer.data:
                raise Transient("the server could not put the parts together")

        with explained(self._bucket.where, key):
            try:
                patiently(attempt)
            except S3Error as error:
                if error.code in _CHANGED:
                    raise UploadChanged(f"a part of {key} was written anew meanwhile; complete it again") from error
                raise

    def _is_open(self, name: str, upload: str) -> bool:
        try:
            self._bucket.ask("GET", name, {"uploadId": upload})
        except MinioException as error:
            if status_of(error) == 404:
                return False
            raise
        return True

    def abort(self, key: str, upload: str) -> None:
        """Gives an upload up. Does nothing when there is no such upload."""
        name = self._name(key)
        with explained(self._bucket.where, key):
            try:
                patiently(lambda _: self._bucket.ask("DELETE", name, {"uploadId": upload}))
            except MinioException as error:
                if status_of(error) != 404:
                    raise

    def unfinished(self, prefix: str) -> Iterator[OpenUpload]:
        """Yields the uploads that are open, to keys that start with `prefix`."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        query: dict[str, str] | None = {"uploads": "", "prefix": self._prefix + prefix}
        while query is not None:
            with explained(self._bucket.where, prefix):
                page = self._read("GET", "", query, _Open)
            for name, upload in page.uploads:
                # Not every server minds the prefix.
                if name.startswith(self._prefix + prefix):
                    yield OpenUpload(name.removeprefix(self._prefix), upload)
            query = query | page.following if page.following else None

    def _read(self, method: str, name: str, query: Mapping[str, str], kind: type[_Answer]) -> _Answer:
        """Asks until there is an answer that can be read."""

        def attempt(_again: bool) -> _Answer:
            answer = self._bucket.ask(method, name, query)
            try:
                return xml.unmarshal(kind, answer.data.decode())
            except (SyntaxError, ValueError) as error:  # cut short, or not what was asked for
                raise Transient(f"the server's answer cannot be read: {error}") from error

        return patiently(attempt)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)


@dataclass(frozen=True)
class _Begun:
    """The answer to a new upload."""

    upload: str

    @classmethod
    def fromxml(cls, element: Element) -> Self:
        """Reads the server's document."""
        return cls(xml.findtext(element, "UploadId", strict=True) or "")


@dataclass(frozen=True)
class _Parts:
    """A page of parts, and the number after which the next page begins; empty on the last."""

    parts: dict[int, StoredPart]
    following: str

    @classmethod
    def fromxml(cls, element: Element) -> Self:
        """Reads the server's document."""
        parts = {
            int(xml.findtext(part, "PartNumber") or 0): StoredPart(
                int(xml.findtext(part, "Size") or 0), (xml.findtext(part, "ETag") or "").strip('"')
            )
            for part in xml.findall(element, "Part")
        }
        cut = (xml.findtext(element, "IsTruncated") or "").lower() == "true"
        return cls(parts, str(max(parts)) if cut and parts else "")


@dataclass(frozen=True)
class _Open:
    """A page of open uploads, and what to ask for the next page with; empty on the last."""

    uploads: list[tuple[str, str]]
    following: dict[str, str]

    @classmethod
    def fromxml(cls, element: Element) -> Self:
        """Reads the server's document."""
        uploads = [
            (xml.findtext(tag, "Key") or "", xml.findtext(tag, "UploadId") or "")
            for tag in xml.findall(element, "Upload")
        ]
        cut = (xml.findtext(element, "IsTruncated") or "").lower() == "true"
        following = {"key-marker": uploads[-1][0], "upload-id-marker": uploads[-1][1]} if cut and uploads else {}
        return cls(uploads, following)
