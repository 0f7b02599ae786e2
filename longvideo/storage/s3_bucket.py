"""What is asked of an S3 server: a bucket's objects by their names, with conditions, and with patience."""

from __future__ import annotations

import email.utils
import io
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import MinioException, S3Error, ServerError
from minio.helpers import DictType
from minio.signer import presign_v4
from urllib3 import BaseHTTPResponse

from longvideo.storage.objects import ObjectStat
from longvideo.storage.s3_requests import Traffic, Transient, connections, patiently, status_of

_PRESIGNED: Final = timedelta(minutes=15)
# "precondition failed", and "conflict" for another writer who was at it at the same moment.
_CONDITION_FAILED: Final = {409, 412}


@dataclass(frozen=True)
class Stored:
    """What was read of an object, its etag, and how many seconds ago it was written, by the server's clock."""

    data: bytes
    etag: str
    age: float


class Bucket:
    """One bucket. Threads share it. Every method raises the SDK's and urllib3's errors, after trying again in vain.

    Attributes:
        name: The bucket's name.
        where: What people call it, for messages.
        traffic: What was read so far.
        client: The SDK, for what needs no condition; it tries again by itself.
    """

    def __init__(
        self, name: str, endpoint: str, region: str, keys: tuple[str, str, str], public_endpoint: str = ""
    ) -> None:
        access, secret, token = (key or None for key in keys)

        def client(address: str, *, retried: bool) -> Minio:
            parts = urlsplit(address)
            return Minio(
                parts.netloc,
                access_key=access,
                secret_key=secret,
                session_token=token,
                secure=parts.scheme == "https",
                region=region,
                http_client=connections(retried=retried),
            )

        self.name = name
        self.where = f"s3://{name} at {endpoint}"
        self.traffic = Traffic()
        self.client = client(endpoint, retried=True)
        # Where an answer can be cut short, or a lost one changes what the next means, we try again ourselves.
        self._reader = client(endpoint, retried=False)
        # It only signs. The host is part of a signature.
        self._public = client(public_endpoint or endpoint, retried=False)
        self._endpoint, self._region, self._keys = endpoint, region, keys
        self._writer = connections(retried=False)
        self._conditional: bool | None = None
        self._asking = threading.Lock()

    def read(self, name: str, offset: int = 0, length: int = 0, headers: Mapping[str, str] | None = None) -> Stored:
        """Returns the bytes of an object, or `length` of them from `offset`. `headers` go with the request."""
        return patiently(lambda again: self._read(name, offset, length, dict(headers or {}), again))

    def _read(self, name: str, offset: int, length: int, headers: DictType, again: bool) -> Stored:
        data = b""
        try:
            answer = self._reader.get_object(self.name, name, offset, length, request_headers=headers)
            try:
                data = answer.read()
            finally:
                # A connection that was read to the end goes back to the pool; another one is closed.
                answer.close() if length and len(data) < length else answer.release_conn()
        finally:
            self.traffic.count(retry=again, size=len(data))
        if length and len(data) != length:
            raise Transient(f"{len(data)} bytes came instead of {length}")
        return Stored(data, answer.headers.get("etag", "").strip('"'), _age(answer))

    def stat(self, name: str) -> ObjectStat | None:
        """Returns an object's size and version, or None when there is none."""
        try:
            found = self.client.stat_object(self.name, name)
        except MinioException as error:
            # Without a body, an answer does not say whether the object or the bucket is missing.
            if status_of(error) == 404:
                return None
            raise
        size, etag = int(found.size or 0), (found.etag or "").strip('"')
        return ObjectStat(size, f"{size}-{etag}")

    def beside(self, name: str) -> Bucket:
        """Returns another bucket of the same server."""
        return Bucket(name, self._endpoint, self._region, self._keys)

    def url_for_clients(
        self, method: str, name: str, expires: timedelta, query: Mapping[str, str] | None = None
    ) -> str:
        """Returns a URL that allows whoever has it one kind of request for one object, and nothing else."""
        return self._public.get_presigned_url(method, self.name, name, expires, extra_query_params=dict(query or {}))

    def ask(self, method: str, name: str, query: Mapping[str, str], body: bytes = b"") -> BaseHTTPResponse:
        """Sends a request that the SDK has no call for, about an object or, without a name, about the bucket."""
        answer = self._writer.request(method, self._signed(method, name, query), body=body or None)
        if answer.status >= 400:
            raise _refused(answer)
        return answer

    def _signed(self, method: str, name: str, query: Mapping[str, str]) -> str:
        if name:
            return self.client.get_presigned_url(method, self.name, name, _PRESIGNED, extra_query_params=dict(query))
        # The SDK presigns requests for objects only; whether the bucket stands in the host or the path is its choice.
        url = urlsplit(self.client.get_presigned_url(method, self.name, "-", _PRESIGNED))
        asked = urlencode(sorted(query.items()), quote_via=quote)
        url = url._replace(path=url.path.removesuffix("-"), query=asked)
        access, secret, token = self._keys
        if access:
            if token:
                url = url._replace(query=f"{asked}&X-Amz-Security-Token={quote(token, safe='')}")
            url = presign_v4(
                method=method,
                url=url,
                region=self._region,
                credentials=Credentials(access, secret),
                date=datetime.now(UTC),
                expires=int(_PRESIGNED.total_seconds()),
            )
        return urlunsplit(url)

    def put(self, name: str, data: bytes) -> None:
        """Writes an object, replacing any."""
        self.client.put_object(self.name, name, io.BytesIO(data), len(data))

    def put_if(self, name: str, data: bytes, etag: str | None) -> bool:
        """Writes an object if there is none, or if it still has the `etag`. Returns whether it wrote."""
        # Presigned, because the SDK's own call has no place for a condition.
        url = self.client.get_presigned_url("PUT", self.name, name, _PRESIGNED)
        condition = {"If-None-Match": "*"} if etag is None else {"If-Match": f'"{etag}"'}

        def attempt(again: bool) -> bool:
            answer = self._writer.request("PUT", url, body=data, headers=condition)
            if answer.status in _CONDITION_FAILED or (etag is not None and answer.status == 404):
                # The try before may have written, and only its answer was lost.
                return again and self._holds(name, data)
            if answer.status >= 400:
                raise _refused(answer)
            return True

        return patiently(attempt)

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.read(name).data == data
        except MinioException as error:
            if status_of(error) == 404:
                return False
            raise

    def honours_conditions(self, prefix: str) -> bool:
        """Tells whether the server honours conditions on writing. Finds out once, with an object under `prefix`."""
        with self._asking:
            if self._conditional is None:
                probe = f"{prefix}.probes/{secrets.token_hex(12)}"
                try:
                    self.put_if(probe, b"first", None)
                    self._conditional = not self.put_if(probe, b"second", None)
                finally:
                    self.client.remove_object(self.name, probe)
            return self._conditional


def _refused(answer: BaseHTTPResponse) -> MinioException:
    if answer.data and "xml" in answer.headers.get("content-type", ""):
        return S3Error.fromxml(answer)
    return ServerError(f"the server answered with HTTP status {answer.status}", answer.status)


def _age(answer: BaseHTTPResponse) -> float:
    written, now = (email.utils.parsedate_tz(answer.headers.get(name, "")) for name in ("last-modified", "date"))
    if written is None or now is None:
        return 0.0
    return float(email.utils.mktime_tz(now) - email.utils.mktime_tz(written))
